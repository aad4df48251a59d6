//! The vDSO family as areas: the host's own pages, which no fault ever asks us for. What a program
//! does to them happens on the host too.

use std::borrow::Cow;
use std::sync::Arc;

use addr::{Errno, Prot, VirtAddr, VirtRange, VmFlags};
use mm::ObjectTarget;
use object::context::{AreaChange, AreaPeek, FaultContext};
use object::{Callbacks, FaultFailure, Supplied, VmOps};

use crate::held::Held;
use crate::runs::{Backing, Run};
use crate::stub;

/// A special mapping with a name (Linux: `struct vm_special_mapping`).
#[derive(Debug)]
pub(crate) struct Special {
    name: &'static str,
}

const CODE: &str = "[vdso]";

impl Special {
    /// The mapping that `/proc/PID/maps` calls `name`.
    pub(crate) fn named(name: &str) -> ObjectTarget {
        let known = [CODE, "[vvar]", "[vvar_vclock]"];
        let name = known
            .into_iter()
            .find(|known| *known == name)
            .unwrap_or(CODE);
        let device = match name {
            CODE => VmFlags::NONE,
            _ => VmFlags::PFNMAP | VmFlags::IO | VmFlags::DONTDUMP,
        };
        ObjectTarget {
            flags: VmFlags::DONTEXPAND | device,
            ..ObjectTarget::new(Arc::new(Self { name }))
        }
    }
}

impl VmOps for Special {
    fn callbacks(&self) -> Callbacks {
        Callbacks::FAULT | Callbacks::NAME | Callbacks::MAY_SPLIT | Callbacks::MPROTECT
    }

    fn fault(&self, _context: &mut FaultContext<'_>) -> Supplied {
        Supplied::Error(FaultFailure::Bus)
    }

    fn name(&self, _area: &AreaPeek<'_>) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(self.name))
    }

    /// `special_mapping_split`.
    fn may_split(&self, _change: &AreaChange<'_>, _address: VirtAddr) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// What is no code lacks `VM_MAYWRITE` and `VM_MAYEXEC`.
    fn mprotect(
        &self,
        _change: &AreaChange<'_>,
        _range: VirtRange,
        flags: VmFlags,
    ) -> Result<(), Errno> {
        match self.name == CODE || !flags.intersects(VmFlags::WRITE | VmFlags::EXEC) {
            true => Ok(()),
            false => Err(Errno::EACCES),
        }
    }
}

/// What has become of the host's own pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The program has unmapped them, or mapped something else in their place.
    Gone,
    /// It has changed what may be done with them.
    Protected(Prot),
    /// They are at another address now.
    MovedTo(u64),
}

impl Held {
    /// Lets the same happen on the host to what of the vDSO family is in `[start, end)`.
    pub(crate) fn follow(&mut self, (start, end): (u64, u64), fate: Fate) {
        let own = self.runs.within(start, end);
        let own: Vec<Run> = own
            .filter(|run| run.backing == Backing::Host && run.start != self.stub)
            .collect();
        for run in own {
            let bytes = run.end - run.start;
            let (call, arguments, after) = match fate {
                Fate::Gone => (libc::SYS_munmap, [run.start, bytes, 0, 0, 0, 0], None),
                Fate::Protected(prot) => {
                    let bits = u64::from(prot.bits());
                    let arguments = [run.start, bytes, bits, 0, 0, 0];
                    (libc::SYS_mprotect, arguments, Some(Run { prot, ..run }))
                }
                Fate::MovedTo(to) => {
                    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
                    let (to, end) = (to + (run.start - start), to + (run.end - start));
                    self.clear_stub_from(to, end);
                    let arguments = [run.start, bytes, bytes, flags, to, 0];
                    let moved = Run {
                        start: to,
                        end,
                        ..run
                    };
                    (libc::SYS_mremap, arguments, Some(moved))
                }
            };
            // One that the host would not let follow is not left where our areas have none.
            let answer = self.call(call, arguments).unwrap_or(-1);
            if answer < 0 && fate != Fate::Gone {
                let _ = self.call(libc::SYS_munmap, [run.start, bytes, 0, 0, 0, 0]);
            }
            self.runs.remove(run.start, run.end);
            if let Some(after) = after.filter(|_| answer >= 0) {
                self.runs.insert(after);
            }
        }
    }

    /// The stub goes from where something of the host's own is about to be.
    fn clear_stub_from(&mut self, start: u64, end: u64) {
        if self.stub < end && start < self.stub + stub::BYTES {
            let _ = self.move_stub();
        }
    }
}
