//! The vDSO family as areas: the host's own pages, which no fault ever asks us for.

use std::borrow::Cow;
use std::sync::Arc;

use object::context::{AreaPeek, FaultContext};
use object::{Callbacks, FaultFailure, Supplied, VmOps};

/// A special mapping with a name (Linux: `struct vm_special_mapping`).
#[derive(Debug)]
pub(crate) struct Special {
    name: &'static str,
}

impl Special {
    /// The mapping that `/proc/PID/maps` calls `name`.
    pub(crate) fn named(name: &str) -> Arc<dyn VmOps> {
        let known = ["[vdso]", "[vvar]", "[vvar_vclock]"];
        let name = known
            .into_iter()
            .find(|known| *known == name)
            .unwrap_or("[vdso]");
        Arc::new(Self { name })
    }
}

impl VmOps for Special {
    fn callbacks(&self) -> Callbacks {
        Callbacks::FAULT | Callbacks::NAME
    }

    fn fault(&self, _context: &mut FaultContext<'_>) -> Supplied {
        Supplied::Error(FaultFailure::Bus)
    }

    fn name(&self, _area: &AreaPeek<'_>) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(self.name))
    }
}
