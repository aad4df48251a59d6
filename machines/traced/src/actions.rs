//! The program's signal actions, where the host is told something else.
//!
//! The kernel *forces* SIGSEGV and SIGBUS: if one is blocked or ignored when a page is missing, it
//! resets the action for good, even if its tracer swallows the signal. So the host never blocks the
//! two and never ignores them, not even while a handler runs: an action's mask loses them, and their
//! own actions do not defer themselves. What the program asked for is kept here.

use crate::fault::signal_bit;
use crate::signals::OWNED;

/// The kernel's `struct sigaction`: handler, flags, restorer, mask.
pub(crate) const ACTION_BYTES: usize = 32;

const IGNORE: u64 = libc::SIG_IGN as u64;
const DEFAULT: u64 = libc::SIG_DFL as u64;
const NODEFER: u64 = libc::SA_NODEFER as u64;
const RESETHAND: u64 = libc::SA_RESETHAND as u32 as u64;

/// An action as a program gives it to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

impl Action {
    /// From the program's memory.
    pub(crate) fn from_bytes(bytes: &[u8; ACTION_BYTES]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let word = |index: usize| words.get(index).map_or(0, |word| u64::from_le_bytes(*word));
        Self {
            handler: word(0),
            flags: word(1),
            restorer: word(2),
            mask: word(3),
        }
    }

    /// As it stands in memory.
    pub(crate) fn to_bytes(self) -> [u8; ACTION_BYTES] {
        let mut bytes = [0; ACTION_BYTES];
        let words = [self.handler, self.flags, self.restorer, self.mask];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// What the program believes of its actions, as far as the host was told something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Actions {
    /// Signals with a handler, of all signals.
    handled: u64,
    /// Signals that are ignored, of all signals.
    ignored: u64,
    /// Those of the two whose handler may be interrupted by themselves.
    nodefer: u64,
    /// Signals whose handler is entered once.
    once: u64,
    /// Signals whose handler's mask has SIGSEGV.
    masks_segv: u64,
    /// Signals whose handler's mask has SIGBUS.
    masks_bus: u64,
}

impl Actions {
    /// Whether `signal` has a handler.
    pub(crate) fn is_handled(&self, signal: i32) -> bool {
        self.handled & signal_bit(signal) != 0
    }

    /// Whether the program ignores `signal`.
    pub(crate) fn is_ignored(&self, signal: i32) -> bool {
        self.ignored & signal_bit(signal) != 0
    }

    /// Those of the two that the program blocks while its handler of `signal` runs.
    pub(crate) fn blocked_by(&self, signal: i32) -> u64 {
        let bit = signal_bit(signal);
        let of = |signals: u64, blocked: i32| match signals & bit {
            0 => 0,
            _ => signal_bit(blocked),
        };
        let itself = bit & OWNED & !self.nodefer;
        itself | of(self.masks_segv, libc::SIGSEGV) | of(self.masks_bus, libc::SIGBUS)
    }

    /// Whether the host's action of `signal` differs from the program's.
    pub(crate) fn differ(&self, signal: i32) -> bool {
        signal_bit(signal) & (OWNED | self.masks_segv | self.masks_bus) != 0
    }

    /// Notes the program's new action of `signal`.
    pub(crate) fn note(&mut self, signal: i32, action: Action) {
        let bit = signal_bit(signal);
        let set = |signals: &mut u64, within: u64, holds: bool| {
            *signals &= !bit;
            if holds {
                *signals |= bit & within;
            }
        };
        let has_handler = action.handler != DEFAULT && action.handler != IGNORE;
        set(&mut self.handled, u64::MAX, has_handler);
        set(&mut self.once, u64::MAX, action.flags & RESETHAND != 0);
        set(&mut self.ignored, u64::MAX, action.handler == IGNORE);
        set(&mut self.nodefer, OWNED, action.flags & NODEFER != 0);
        let has = |blocked: i32| action.mask & signal_bit(blocked) != 0;
        set(&mut self.masks_segv, u64::MAX, has(libc::SIGSEGV));
        set(&mut self.masks_bus, u64::MAX, has(libc::SIGBUS));
    }

    /// The handler of `signal` is entered.
    pub(crate) fn entered(&mut self, signal: i32) {
        self.handled &= !(signal_bit(signal) & self.once);
    }

    /// What the host is told of an action of `signal`.
    pub(crate) fn for_host(signal: i32, own: Action) -> Action {
        let mut action = Action {
            mask: own.mask & !OWNED,
            ..own
        };
        if signal_bit(signal) & OWNED != 0 {
            action.flags |= NODEFER;
            if own.handler == IGNORE {
                action.handler = DEFAULT;
            }
        }
        action
    }

    /// What the program is told of the host's action of `signal`.
    pub(crate) fn for_program(&self, signal: i32, host: Action) -> Action {
        let bit = signal_bit(signal);
        let mut action = host;
        if bit & OWNED != 0 && self.nodefer & bit == 0 {
            action.flags &= !NODEFER;
        }
        if self.ignored & bit & OWNED != 0 {
            action.handler = IGNORE;
        }
        for (signals, blocked) in [
            (self.masks_segv, libc::SIGSEGV),
            (self.masks_bus, libc::SIGBUS),
        ] {
            if signals & bit != 0 {
                action.mask |= signal_bit(blocked);
            }
        }
        action
    }

    /// A program that begins with `signals` ignored.
    pub(crate) fn ignoring(signals: u64) -> Self {
        Self {
            ignored: signals,
            ..Self::default()
        }
    }

    /// The program becomes another: handlers are gone, what was ignored stays so.
    pub(crate) fn exec(&mut self) {
        *self = Self {
            ignored: self.ignored,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Actions, DEFAULT, IGNORE, NODEFER, RESETHAND};
    use crate::fault::signal_bit;
    use crate::signals::OWNED;

    const HANDLER: u64 = 0x1234;

    fn action(handler: u64, flags: u64, mask: u64) -> Action {
        Action {
            handler,
            flags,
            restorer: 7,
            mask,
        }
    }

    #[test]
    fn the_program_is_told_what_it_said() {
        let mut actions = Actions::default();
        for own in [
            action(HANDLER, 0, 0),
            action(HANDLER, NODEFER, OWNED),
            action(IGNORE, 0, 0),
            action(DEFAULT, 0, u64::MAX),
        ] {
            for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGUSR1] {
                actions.note(signal, own);
                let host = Actions::for_host(signal, own);
                assert_eq!(host.mask & OWNED, 0);
                assert_eq!(actions.for_program(signal, host), own, "{signal}");
                assert!(host == own || actions.differ(signal));
            }
        }
    }

    #[test]
    fn the_host_never_defers_or_ignores_the_two() {
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            let host = Actions::for_host(signal, action(IGNORE, 0, OWNED));
            assert_eq!((host.handler, host.flags & NODEFER), (DEFAULT, NODEFER));
        }
    }

    #[test]
    fn a_handler_blocks_itself_and_its_mask() {
        let mut actions = Actions::default();
        actions.note(libc::SIGSEGV, action(HANDLER, 0, signal_bit(libc::SIGBUS)));
        assert_eq!(actions.blocked_by(libc::SIGSEGV), OWNED);
        actions.note(libc::SIGSEGV, action(HANDLER, NODEFER, 0));
        assert_eq!(actions.blocked_by(libc::SIGSEGV), 0);
        actions.note(libc::SIGUSR1, action(HANDLER, 0, signal_bit(libc::SIGSEGV)));
        assert_eq!(actions.blocked_by(libc::SIGUSR1), signal_bit(libc::SIGSEGV));
    }

    #[test]
    fn a_handler_that_is_entered_once_is_gone_then() {
        let mut actions = Actions::default();
        actions.note(libc::SIGUSR1, action(HANDLER, RESETHAND, OWNED));
        assert!(actions.is_handled(libc::SIGUSR1));
        actions.entered(libc::SIGUSR1);
        assert!(!actions.is_handled(libc::SIGUSR1));
        actions.note(libc::SIGUSR1, action(HANDLER, 0, OWNED));
        actions.entered(libc::SIGUSR1);
        assert!(actions.is_handled(libc::SIGUSR1));
    }
}
