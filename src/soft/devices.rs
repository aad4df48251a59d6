//! How the machine reaches the pages of mapped files: by asking the host.

use std::sync::Arc;

use addr::{PAGE_SIZE, Pfn};
use object::device::{DevicePage, DeviceSpace, HostRights};
use soft::{DeviceLost, DeviceMemory};

/// Routes a page number to its file.
///
/// It is called with a TLB locked, so it learns nothing on behalf of the core: whoever gets
/// [`DeviceLost`] asks the core to look again.
#[derive(Debug)]
pub(super) struct Devices {
    space: Arc<DeviceSpace>,
}

impl Devices {
    pub(super) fn new(space: &Arc<DeviceSpace>) -> Self {
        Self {
            space: Arc::clone(space),
        }
    }

    fn read(page: &DevicePage, offset: u64, bytes: &mut [u8]) -> Option<()> {
        let file = page.pagemap.file(HostRights::Read)?;
        let start = page.pgoff.bytes()?.checked_add(offset)?;
        let mut done = 0;
        while done < bytes.len() {
            match file.read_at(start + done as u64, &mut bytes[done..]).ok()? {
                0 => break,
                count => done += count,
            }
        }
        if done < bytes.len() && page.pgoff.as_u64() >= pages(file.size_bytes().ok()?) {
            return None;
        }
        bytes[done..].fill(0);
        Some(())
    }

    fn write(page: &DevicePage, offset: u64, bytes: &[u8]) -> Option<()> {
        let file = page.pagemap.file(HostRights::ReadWrite)?;
        let start = page.pgoff.bytes()?.checked_add(offset)?;
        let size = file.size_bytes().ok()?;
        if page.pgoff.as_u64() >= pages(size) {
            return None;
        }
        let inside = usize::try_from(size.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut left = &bytes[..bytes.len().min(inside)];
        let mut at = start;
        while !left.is_empty() {
            let count = file.write_at(at, left).ok().filter(|count| *count > 0)?;
            at += count as u64;
            left = &left[count..];
        }
        Some(())
    }
}

const fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_SIZE)
}

impl DeviceMemory for Devices {
    fn copy_in(&self, pfn: Pfn, offset: u64, bytes: &mut [u8]) -> Result<(), DeviceLost> {
        let page = self.space.page(pfn);
        page.and_then(|page| Self::read(&page, offset, bytes))
            .ok_or(DeviceLost { pfn })
    }

    fn copy_out(&self, pfn: Pfn, offset: u64, bytes: &[u8]) -> Result<(), DeviceLost> {
        let page = self.space.page(pfn);
        page.and_then(|page| Self::write(&page, offset, bytes))
            .ok_or(DeviceLost { pfn })
    }
}
