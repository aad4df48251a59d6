//! A promise of an answer, kept from any thread.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use sync::atomic::{AtomicBool, Ordering};
use sync::{Mutex, WaitQueue};

use crate::failure::FaultFailure;
use crate::request::Readiness;

/// Two ends of a promise: the source keeps the first and returns the second.
pub fn promise<T: Send + 'static>() -> (Completer<T>, Ticket<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            answer: Answer::Open,
            taker: None,
            wakers: Vec::new(),
        }),
        settled: AtomicBool::new(false),
        changed: WaitQueue::new(),
    });
    (
        Completer {
            shared: Some(Arc::clone(&shared)),
        },
        Ticket { shared },
    )
}

type Taker<T> = Box<dyn FnOnce(Option<T>) + Send>;

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Set when the answer has been taken, or can be.
    settled: AtomicBool,
    changed: WaitQueue,
}

struct State<T> {
    answer: Answer<T>,
    taker: Option<Taker<T>>,
    wakers: Vec<Box<dyn FnOnce() + Send>>,
}

enum Answer<T> {
    Open,
    Given(T),
    Abandoned,
    Taken,
}

/// Nobody is left who could keep a promise: its [`Completer`] was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the promise was abandoned: its completer was dropped without an answer")]
pub struct Abandoned;

/// Why a fault fails that waited for such a promise.
pub(super) fn abandoned() -> FaultFailure {
    FaultFailure::Source(Arc::new(Abandoned))
}

/// The end that gives the answer. Dropped without one, the promise is abandoned, and whoever waits
/// fails with [`Abandoned`]: to be asked again, a source answers that it wants to be.
#[must_use = "a promise that is dropped is abandoned"]
pub struct Completer<T> {
    shared: Option<Arc<Shared<T>>>,
}

impl<T> Completer<T> {
    /// Gives the answer. Whoever waits goes on; the page is filled before this returns.
    pub fn complete(mut self, answer: T) {
        if let Some(shared) = self.shared.take() {
            shared.settle(Answer::Given(answer));
        }
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.settle(Answer::Abandoned);
        }
    }
}

impl<T> fmt::Debug for Completer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completer")
    }
}

/// The end that gets the answer.
pub struct Ticket<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Send + 'static> Ticket<T> {
    /// Has `take` called with the answer, or `None` if the promise is abandoned; now if it is
    /// settled, else on the thread that settles it. To be called once.
    pub(super) fn take_with(&self, take: impl FnOnce(Option<T>) + Send + 'static) {
        let mut state = self.shared.state.lock();
        let answer = match core::mem::replace(&mut state.answer, Answer::Taken) {
            Answer::Open => {
                state.answer = Answer::Open;
                state.taker = Some(Box::new(take));
                return;
            }
            Answer::Given(answer) => Some(answer),
            Answer::Abandoned | Answer::Taken => None,
        };
        drop(state);
        take(answer);
    }

    /// Waits for the answer and takes it. No lock may be held.
    pub(super) fn wait(self) -> Option<T> {
        self.shared
            .changed
            .wait_until(|| self.shared.settled.load(Ordering::Acquire));
        let mut state = self.shared.state.lock();
        match core::mem::replace(&mut state.answer, Answer::Taken) {
            Answer::Given(answer) => Some(answer),
            _ => None,
        }
    }

    /// What says that `wait` would not block.
    pub(super) fn readiness(&self) -> Arc<dyn Readiness> {
        Arc::clone(&self.shared) as Arc<dyn Readiness>
    }
}

impl<T> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settled = self.shared.settled.load(Ordering::Acquire);
        f.debug_struct("Ticket").field("settled", &settled).finish()
    }
}

impl<T> Shared<T> {
    fn settle(&self, answer: Answer<T>) {
        let (wakers, taken) = {
            let mut state = self.state.lock();
            let wakers = core::mem::take(&mut state.wakers);
            match state.taker.take() {
                Some(take) => {
                    state.answer = Answer::Taken;
                    (wakers, Some((take, answer)))
                }
                None => {
                    state.answer = answer;
                    (wakers, None)
                }
            }
        };
        if let Some((take, answer)) = taken {
            take(match answer {
                Answer::Given(answer) => Some(answer),
                _ => None,
            });
        }
        self.settled.store(true, Ordering::Release);
        self.changed.wake_all();
        for wake in wakers {
            wake();
        }
    }
}

impl<T: Send> Readiness for Shared<T> {
    fn when_ready(&self, wake: Box<dyn FnOnce() + Send>) {
        let mut state = self.state.lock();
        if matches!(state.answer, Answer::Open) {
            state.wakers.push(wake);
            return;
        }
        drop(state);
        wake();
    }
}
