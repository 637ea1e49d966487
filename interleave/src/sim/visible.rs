//! State whose accesses are scheduling points.

use crate::engine::exec::{visible, with};
use crate::engine::op::{Kind, ObjectId, Op};
use crate::lab::{Span, Visible};
use std::panic::Location;

/// See [`Visible`].
pub struct SimVisible {
    object: ObjectId,
}

impl Visible for SimVisible {
    fn new(name: &'static str) -> Self {
        SimVisible { object: with(|exec| exec.add_object(name, 0)) }
    }
    #[track_caller]
    fn read(&self, span: Span) {
        visible(Op::with_span(Kind::Read, self.object, span), Location::caller());
    }
    #[track_caller]
    fn write(&self, span: Span) {
        visible(Op::with_span(Kind::Write, self.object, span), Location::caller());
    }
    #[track_caller]
    fn invalidate(&self, span: Span) {
        visible(Op::with_span(Kind::Invalidate, self.object, span), Location::caller());
    }
}
