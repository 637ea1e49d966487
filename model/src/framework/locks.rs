//! The notifier lock's guards, and the tokens by which a signature says what must be held.
//!
//! Answers to `drm_gpusvm_notifier_lock/unlock`, `lockdep_assert_held` on `notifier_lock`, and
//! `drm_gpusvm_driver_lock_held`. Spec drm-gpusvm 2.

use super::Framework;
use crate::platform::{KRwSem, Platform, RwSem};
use core::marker::PhantomData;

/// Says that the driver lock is held exclusively for `'a`. The framework does not know which lock that is, so the
/// driver vouches by lending its guard.
///
/// ```
/// # use model::framework::DriverLocked;
/// # use model::platform::{KRwSem, Platform, RwSem};
/// fn locked<P: Platform>(guard: &<KRwSem<P, ()> as RwSem<()>>::WriteGuard<'_>) {
///     DriverLocked::by::<P>(guard);
/// }
/// ```
/// The same lock for read does not do:
/// ```compile_fail,E0308
/// # use model::framework::DriverLocked;
/// # use model::platform::{KRwSem, Platform, RwSem};
/// fn locked<P: Platform>(guard: &<KRwSem<P, ()> as RwSem<()>>::ReadGuard<'_>) {
///     DriverLocked::by::<P>(guard);
/// }
/// ```
#[derive(Clone, Copy)]
pub struct DriverLocked<'a>(PhantomData<&'a ()>);

impl<'a> DriverLocked<'a> {
    /// `guard` is the driver lock, an rwsem held for write: the compiler takes nothing less. That it is this driver's
    /// and not another rwsem without data, the driver vouches for.
    pub fn by<P: Platform>(_guard: &'a <KRwSem<P, ()> as RwSem<()>>::WriteGuard<'_>) -> Self {
        DriverLocked(PhantomData)
    }
}

impl DriverLocked<'static> {
    /// Nothing else runs, as when everything has ended, or in a test with one thread: the caller as good as holds it.
    pub fn at_rest() -> Self {
        DriverLocked(PhantomData)
    }
}

/// The notifier lock, held for read (`drm_gpusvm_notifier_lock`): no callback runs. Do not enter reclaim.
pub struct NotifierRead<'a, P: Platform>(#[allow(dead_code)] <P::Framework as Framework<P>>::ReadGuard<'a>);

/// The notifier lock, held for write: the caller is the callback. Do not enter reclaim.
pub struct NotifierWrite<'a, P: Platform>(<P::Framework as Framework<P>>::WriteGuard<'a>);

impl<'a, P: Platform> NotifierRead<'a, P> {
    /// For frameworks: the lock is taken, and dropping `guard` lets it go.
    pub fn new(guard: <P::Framework as Framework<P>>::ReadGuard<'a>) -> Self {
        NotifierRead(guard)
    }

    /// The proof, for functions that do not care about the mode.
    pub fn held(&self) -> NotifierHeld<'_> {
        NotifierHeld { write: false, of: PhantomData }
    }
}

impl<'a, P: Platform> NotifierWrite<'a, P> {
    /// For frameworks: the callback holds the lock, as long as there is `guard`.
    pub fn new(guard: <P::Framework as Framework<P>>::WriteGuard<'a>) -> Self {
        NotifierWrite(guard)
    }

    /// For frameworks: what the callback was made with.
    pub fn guard(&self) -> &<P::Framework as Framework<P>>::WriteGuard<'a> {
        &self.0
    }

    /// The proof, for functions that do not care about the mode.
    pub fn held(&self) -> NotifierHeld<'_> {
        NotifierHeld { write: true, of: PhantomData }
    }
}

/// Says that the notifier lock is held for `'a`, in either mode.
#[derive(Clone, Copy)]
pub struct NotifierHeld<'a> {
    write: bool,
    of: PhantomData<&'a ()>,
}

impl NotifierHeld<'_> {
    /// Whether it is held for write, that is by the callback.
    pub fn is_write(self) -> bool {
        self.write
    }
}

/// Why the caller may walk a notifier's tree of ranges.
pub enum TreeAccess<'a, 'g, P: Platform> {
    /// It holds the driver lock. (The notifier lock for read alone does **not** do: trees change under it.)
    Driver(DriverLocked<'a>),
    /// It is the callback.
    Callback(&'a NotifierWrite<'g, P>),
}

impl<P: Platform> Clone for TreeAccess<'_, '_, P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P: Platform> Copy for TreeAccess<'_, '_, P> {}
