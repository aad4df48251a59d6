//! What waits is performed without locks, so nothing that was lent under a lock may be in it.

use object::{FaultContext, Obtained, PageRequest, Supplied, Waiting};

fn fault(context: &mut FaultContext<'_>) -> Supplied {
    let area = context.area();
    Supplied::Later(PageRequest::new(Waiting::Read, move || {
        assert!(area.file.is_none());
        Obtained::nothing()
    }))
}

fn main() {}
