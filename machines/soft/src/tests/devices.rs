use std::sync::Mutex;

use super::*;

const FIRST: Pfn = Pfn::new(1 << 28);

/// One page of device memory, which may be revoked.
#[derive(Debug, Default)]
struct OnePage(Mutex<Option<Vec<u8>>>);

impl DeviceMemory for OnePage {
    fn copy_in(&self, pfn: Pfn, offset: u64, bytes: &mut [u8]) -> Result<(), DeviceLost> {
        let offset = offset as usize;
        let page = self.0.lock().expect("not poisoned");
        let page = page
            .as_ref()
            .filter(|_| pfn == FIRST)
            .ok_or(DeviceLost { pfn })?;
        bytes.copy_from_slice(&page[offset..offset + bytes.len()]);
        Ok(())
    }

    fn copy_out(&self, pfn: Pfn, offset: u64, bytes: &[u8]) -> Result<(), DeviceLost> {
        let offset = offset as usize;
        let mut page = self.0.lock().expect("not poisoned");
        let page = page
            .as_mut()
            .filter(|_| pfn == FIRST)
            .ok_or(DeviceLost { pfn })?;
        page[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn a_device_page_is_reached_by_copy_until_it_is_revoked() {
    let device = Arc::new(OnePage(Mutex::new(Some(vec![3; PAGE_SIZE as usize]))));
    let mut bench = Bench::with(1, PagingMode::FourLevel, Arc::clone(&device) as _);
    bench.install(0x1000, Entry::leaf(FIRST, writable()));
    assert_eq!(load(bench.cpu(), 0x1fff), Ok(3));
    bench.cpu().store(at(0x1002), &[4]).expect("writable");
    assert_eq!(
        device
            .0
            .lock()
            .expect("not poisoned")
            .as_ref()
            .expect("there")[2],
        4
    );
    assert!(bench.peek(0x1000).is_dirty());

    device.0.lock().expect("not poisoned").take();
    let lost = Trap::Lost {
        addr: at(0x1002),
        pfn: FIRST,
        access: Access::Read,
    };
    assert_eq!(load(bench.cpu(), 0x1002), Err(lost));
    bench.zap(0x1000);
    assert_eq!(
        load(bench.cpu(), 0x1002).map_err(code_of),
        Err(ErrorCode::USER)
    );
}
