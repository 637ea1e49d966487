//! The micro-model on the primitives of a lab of this crate.

use super::{Flag, Lock, Locks, Plain, RwLock, STALE, Shape, World};
use interleave::lab::{Gate, Invariant, Lab, Violation};
use interleave::{Execution, Launch, Program};
use model::platform::{self, Kernel};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// The primitives of the lab `L`.
struct Ours<L>(PhantomData<L>);

impl<L: Lab> Locks for Ours<L> {
    type Lock = OneOf<L>;
    type RwLock = Sem<L>;
    type Flag = Word<L>;
    type Number = Data<L, u32>;
    type Truth = Data<L, bool>;
}

type Mutex<L> = <L as Kernel>::Mutex<u32>;
type SpinLock<L> = <L as Kernel>::SpinLock<u32>;
type RwSem<L> = <L as Kernel>::RwSem<()>;

enum OneOf<L: Lab> {
    Mutex(Mutex<L>),
    SpinLock(SpinLock<L>),
}

enum Held<'a, L: Lab> {
    Mutex(<Mutex<L> as platform::Mutex<u32>>::Guard<'a>),
    SpinLock(<SpinLock<L> as platform::SpinLock<u32>>::Guard<'a>),
}

impl<L: Lab> Deref for Held<'_, L> {
    type Target = u32;
    fn deref(&self) -> &u32 {
        match self {
            Held::Mutex(guard) => guard,
            Held::SpinLock(guard) => guard,
        }
    }
}
impl<L: Lab> DerefMut for Held<'_, L> {
    fn deref_mut(&mut self) -> &mut u32 {
        match self {
            Held::Mutex(guard) => guard,
            Held::SpinLock(guard) => guard,
        }
    }
}

impl<L: Lab> Lock for OneOf<L> {
    type Guard<'a> = Held<'a, L>;
    fn sleeping(name: &'static str) -> Self {
        OneOf::Mutex(platform::Mutex::new(name, 0).unwrap())
    }
    fn spinning(name: &'static str) -> Self {
        OneOf::SpinLock(platform::SpinLock::new(name, 0).unwrap())
    }
    #[track_caller]
    fn lock(&self) -> Held<'_, L> {
        match self {
            OneOf::Mutex(lock) => Held::Mutex(platform::Mutex::lock(lock)),
            OneOf::SpinLock(lock) => Held::SpinLock(platform::SpinLock::lock(lock)),
        }
    }
}

struct Sem<L: Lab>(RwSem<L>);

impl<L: Lab> RwLock for Sem<L> {
    type ReadGuard<'a> = <RwSem<L> as platform::RwSem<()>>::ReadGuard<'a>;
    type WriteGuard<'a> = <RwSem<L> as platform::RwSem<()>>::WriteGuard<'a>;
    fn new(name: &'static str) -> Self {
        Sem(platform::RwSem::new(name, ()).unwrap())
    }
    #[track_caller]
    fn read(&self) -> Self::ReadGuard<'_> {
        platform::RwSem::read(&self.0)
    }
    #[track_caller]
    fn write(&self) -> Self::WriteGuard<'_> {
        platform::RwSem::write(&self.0)
    }
}

/// 1 while it is up.
struct Word<L: Lab>(L::Gate);

impl<L: Lab> Flag<OneOf<L>> for Word<L> {
    fn new(name: &'static str) -> Self {
        Word(Gate::new(name, 0))
    }
    fn is_raised(&self) -> bool {
        self.0.peek() != 0
    }
    #[track_caller]
    fn raise(&self) {
        self.0.store(1);
    }
    #[track_caller]
    fn lower(&self) {
        self.0.store(0);
    }
    #[track_caller]
    fn wait<'a>(&self, lock: &'a OneOf<L>, guard: Held<'a, L>) -> Held<'a, L> {
        drop(guard);
        self.0.wait_until(0);
        lock.lock()
    }
}

struct Data<L: Lab, T: 'static>(L::Plain<T>);

impl<L: Lab, T: Copy> Plain<T> for Data<L, T> {
    fn new(value: T) -> Self {
        Data(platform::Plain::new(value))
    }
    #[track_caller]
    fn get(&self) -> T {
        platform::Plain::get(&self.0)
    }
    #[track_caller]
    fn set(&self, value: T) {
        platform::Plain::set(&self.0, value);
    }
}

/// The model as a program of the lab `L`.
pub(crate) struct Micro<L>(pub(crate) Shape, PhantomData<L>);

impl<L> Micro<L> {
    pub(crate) const fn new(shape: Shape) -> Self {
        Micro(shape, PhantomData)
    }
}

struct Run<L: Lab>(Rc<World<Ours<L>>>);

impl<L: Lab> Program for Micro<L> {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let world = Rc::new(World::<Ours<L>>::new(self.0));
        let its = world.clone();
        launch.actor("munmap", move || its.munmap());
        for _ in 0..self.0.faults {
            let its = world.clone();
            launch.actor("fault", move || its.fault());
        }
        if self.0.collector {
            let its = world.clone();
            launch.actor("gc", move || its.collect());
        }
        Box::new(Run(world))
    }
}

impl<L: Lab> Execution for Run<L> {
    fn at_rest(&self) {
        if self.0.is_stale() {
            L::fail(Violation::new(Invariant::I2, STALE, None));
        }
    }
}
