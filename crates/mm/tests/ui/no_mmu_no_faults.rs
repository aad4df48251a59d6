//! F29: a build without an MMU refuses to handle faults.

fn main() {}

fn handle(mm: &mm::Mm, info: &machine::FaultInfo) {
    let _ = mm::handle_mm_fault(mm::NoMmuBuild, mm, info);
}
