//! F24: what a callback was told of the area cannot leave with the request to wait.

use object::{Callbacks, FaultContext, Obtained, PageRequest, Supplied, VmOps, Waiting};

#[derive(Debug)]
struct Keeps;

impl VmOps for Keeps {
    fn callbacks(&self) -> Callbacks {
        Callbacks::FAULT
    }

    fn fault(&self, context: &mut FaultContext<'_>) -> Supplied {
        let area = context.area();
        Supplied::Later(PageRequest::new(Waiting::Read, move || {
            println!("{:?}", area.range);
            Obtained::nothing()
        }))
    }
}

fn main() {}
