//! An open host file as areas map it (Linux: the operations of a DAX file system).

use alloc::sync::Arc;
use alloc::vec::Vec;

use addr::{Errno, PAGE_SIZE, PgOff};
use frame::{AllocRequest, Arena, ChargeId, FreshFolio, Purpose};

use super::host_file::HostFile;
use super::pagemap::DevPagemap;
use super::space::DeviceSpace;
use crate::context::{FaultContext, FaultPage, Intent, MapAround, Offered, WriteNotice};
use crate::failure::FaultFailure;
use crate::file::{
    FileObject, FileStep, FileWork, MAX_LFS_FILESIZE, MappedFile, Residency, Writeback,
};
use crate::ops::{Callbacks, Notified, Supplied, VmOps};
use crate::request::{Brought, Obtained, PageRequest, Revalidate, Waiting};
use crate::rmap::EvenCows;

/// One open host file: the operations of the areas that map it, and what memory calls ask of it.
///
/// * A read, and a write to a shared mapping, get the host's page itself. The device page supplied
///   for a shared write has been noticed already; a page that was read first is noticed by
///   `pfn_mkwrite` when it is written.
/// * A write to a private mapping gets a copy of the page, whether the page was mapped before or
///   not: at once if the host has the data at hand, else read through a request.
/// * A page beyond the end as last known makes a request that asks the host; only a second attempt
///   that still finds it beyond the end is `SIGBUS`.
#[derive(Debug)]
pub struct DaxFile {
    pagemap: Arc<DevPagemap>,
    file: Arc<dyn HostFile>,
}

impl DaxFile {
    /// Makes an open host file mappable. Asks the host for its size: the caller holds no lock.
    ///
    /// # Errors
    /// What the host answered.
    pub fn new(space: &Arc<DeviceSpace>, file: Arc<dyn HostFile>) -> Result<Arc<Self>, Errno> {
        let pagemap = space.attach(&file)?;
        Ok(Arc::new(DaxFile { pagemap, file }))
    }

    /// The file of areas that map it; `path` is what `/proc/PID/maps` prints
    /// if the host does not tell.
    pub fn open_file(self: &Arc<Self>, path: impl Into<Arc<str>>) -> Arc<MappedFile> {
        let object: Arc<dyn FileObject> = Arc::clone(self) as Arc<dyn FileObject>;
        let mappings = Arc::clone(self.pagemap.mappings());
        MappedFile::new(self.pagemap.inode(), path, mappings, object)
    }

    /// Its pages.
    pub fn pagemap(&self) -> &Arc<DevPagemap> {
        &self.pagemap
    }

    /// The host's file.
    pub fn host_file(&self) -> &Arc<dyn HostFile> {
        &self.file
    }

    /// A request that asks the host how long the file is.
    fn ask_size(&self, pgoff: PgOff) -> PageRequest {
        let (pagemap, file) = (Arc::clone(&self.pagemap), Arc::clone(&self.file));
        PageRequest::new(Waiting::Size, move || {
            match pagemap.refresh_size_by(&*file) {
                Ok(size) => Obtained::provided(Brought::Nothing, seen(&pagemap, pgoff, Some(size))),
                Err(errno) => failed(&pagemap, pgoff, FaultFailure::from_errno(errno)),
            }
        })
    }

    /// A request that reads page `pgoff` into a frame.
    fn read_page(&self, pgoff: PgOff, frame: FrameFrom) -> PageRequest {
        let (pagemap, file) = (Arc::clone(&self.pagemap), Arc::clone(&self.file));
        PageRequest::new(Waiting::Read, move || {
            match read_page(&pagemap, &*file, pgoff, frame) {
                Ok(page) => {
                    let size = pagemap.size_bytes();
                    Obtained::provided(Brought::Data(page), seen(&pagemap, pgoff, Some(size)))
                }
                Err(failure) => failed(&pagemap, pgoff, failure),
            }
        })
    }

    /// A private copy of the page: brought by the request of an earlier attempt, or to be read.
    fn copy(&self, context: &mut FaultContext<'_>, brought: Option<Brought>) -> Supplied {
        match brought {
            Some(Brought::Data(page)) => {
                context.set_major();
                Supplied::Data(page)
            }
            Some(Brought::Failed(failure)) => Supplied::Error(failure),
            _ => {
                let pgoff = context.pgoff();
                let frame = match context.take_cow_page() {
                    Some(page) => FrameFrom::Prepared(page),
                    None => FrameFrom::Arena(Arc::clone(context.arena()), context.charge()),
                };
                match (self.page_at_hand(pgoff), frame) {
                    (Some(data), FrameFrom::Prepared(mut page)) => {
                        page.write(0, &data);
                        Supplied::Data(page)
                    }
                    (_, frame) => Supplied::Later(self.read_page(pgoff, frame)),
                }
            }
        }
    }

    /// The whole of page `pgoff`, if the host has it in memory. The page that the file ends in is not
    /// taken so: only a request may ask where that is now.
    fn page_at_hand(&self, pgoff: PgOff) -> Option<[u8; PAGE_SIZE as usize]> {
        let mut data = [0; PAGE_SIZE as usize];
        let got = self.file.read_at_hand(pgoff.bytes()?, &mut data)?;
        (got == data.len()).then_some(data)
    }

    fn device(&self, context: &FaultContext<'_>) -> Supplied {
        if context.intent() == Intent::Share {
            self.pagemap.note_write();
        }
        match self.pagemap.pfn(context.pgoff()) {
            Ok(pfn) => Supplied::Device(pfn),
            Err(_) => Supplied::Error(FaultFailure::OutOfMemory),
        }
    }
}

/// Where the frame of a private copy comes from.
enum FrameFrom {
    /// The fault prepared it.
    Prepared(FreshFolio),
    /// It is allocated when needed.
    Arena(Arc<Arena>, Option<ChargeId>),
}

fn read_page(
    pagemap: &DevPagemap,
    file: &dyn HostFile,
    pgoff: PgOff,
    frame: FrameFrom,
) -> Result<FreshFolio, FaultFailure> {
    let mut frame = match frame {
        FrameFrom::Prepared(frame) => frame,
        FrameFrom::Arena(arena, charge) => arena
            .alloc(AllocRequest::uninit(Purpose::Anon).with_charge(charge))
            .map_err(|_| FaultFailure::OutOfMemory)?,
    };
    let start = pgoff.bytes().ok_or(FaultFailure::Bus)?;
    let mut data = [0u8; PAGE_SIZE as usize];
    let mut nr_read = 0;
    while nr_read < data.len() {
        match file.read_at(start + nr_read as u64, &mut data[nr_read..]) {
            Ok(0) => break,
            Ok(nr) => nr_read += nr,
            Err(errno) => return Err(FaultFailure::from_errno(errno)),
        }
    }
    if nr_read < data.len() {
        // The last page, or one that has been cut off.
        let size = pagemap
            .refresh_size_by(file)
            .map_err(FaultFailure::from_errno)?;
        if pgoff.as_u64() >= size.div_ceil(PAGE_SIZE) {
            return Err(FaultFailure::Bus);
        }
        file.read_last_page(pgoff, &mut data);
    }
    frame.write(0, &data);
    Ok(frame)
}

fn seen(pagemap: &DevPagemap, index: PgOff, size_bytes: Option<u64>) -> Revalidate {
    Revalidate {
        mapping: pagemap.id(),
        index,
        size_bytes,
    }
}

fn failed(pagemap: &DevPagemap, pgoff: PgOff, failure: FaultFailure) -> Obtained {
    Obtained::provided(Brought::Failed(failure), seen(pagemap, pgoff, None))
}

impl VmOps for DaxFile {
    fn callbacks(&self) -> Callbacks {
        Callbacks::FAULT | Callbacks::MAP_PAGES | Callbacks::PFN_MKWRITE
    }

    fn fault(&self, context: &mut FaultContext<'_>) -> Supplied {
        let pgoff = context.pgoff();
        let brought = context.take_obtained_of(self.pagemap.id(), pgoff);
        if let Some(Brought::Failed(failure)) = brought {
            return Supplied::Error(failure);
        }
        if !self.pagemap.covers(pgoff) {
            return match brought {
                Some(_) => Supplied::Error(FaultFailure::Bus),
                None => Supplied::Later(self.ask_size(pgoff)),
            };
        }
        match context.intent() {
            Intent::Read | Intent::Share => self.device(context),
            Intent::Copy => self.copy(context, brought),
        }
    }

    fn map_pages(&self, around: &mut MapAround<'_>) -> FaultPage {
        let (mut pgoff, last) = (around.first(), around.last());
        while pgoff <= last && self.pagemap.covers(pgoff) {
            if around.wants(pgoff)
                && let Some(pfn) = self.pagemap.known_pfn(pgoff)
                && around.offer_device(pgoff, pfn) == Offered::Outside
            {
                break;
            }
            let Some(next) = pgoff.checked_add(1) else {
                break;
            };
            pgoff = next;
        }
        around.fault_page()
    }

    fn pfn_mkwrite(&self, notice: &mut WriteNotice<'_>) -> Notified {
        let pgoff = notice.pgoff();
        let brought = notice.take_obtained_of(self.pagemap.id(), pgoff);
        if let Some(Brought::Failed(failure)) = brought {
            return Notified::Error(failure);
        }
        if self.pagemap.covers(pgoff) {
            self.pagemap.note_write();
            return Notified::Allow;
        }
        match brought {
            Some(_) => Notified::Error(FaultFailure::Bus),
            None => Notified::Later(self.ask_size(pgoff)),
        }
    }
}

impl FileObject for DaxFile {
    fn path(&self) -> Option<Vec<u8>> {
        self.file.path()
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(self.pagemap.size_bytes())
    }

    fn max_bytes(&self) -> u64 {
        MAX_LFS_FILESIZE
    }

    fn writeback(&self) -> Writeback {
        Writeback::Yes
    }

    fn is_resident(&self, pgoff: PgOff) -> bool {
        self.pagemap.covers(pgoff) && self.file.is_resident(pgoff)
    }

    fn residency(&self) -> Residency {
        self.file.residency()
    }

    fn punch_hole(self: Arc<Self>, first: PgOff, last: PgOff) -> Result<FileStep, Errno> {
        let (offset, len) = byte_span(first, last)?;
        Ok(FileStep::Work(FileWork::new(move || {
            self.file.punch_hole(offset, len)?;
            self.pagemap
                .mappings()
                .unmap(first, Some(last), EvenCows::No);
            Ok(())
        })))
    }

    fn sync(self: Arc<Self>, first: PgOff, last: PgOff) -> Result<FileStep, Errno> {
        let (offset, len) = byte_span(first, last)?;
        Ok(FileStep::Work(FileWork::new(move || {
            self.file.sync_range(offset, len)
        })))
    }
}

/// Byte offset and length of the pages `[first, last]`.
fn byte_span(first: PgOff, last: PgOff) -> Result<(u64, u64), Errno> {
    let offset = first.bytes().ok_or(Errno::EINVAL)?;
    let nr_pages = last.checked_offset_from(first).ok_or(Errno::EINVAL)?;
    let len = nr_pages
        .checked_add(1)
        .and_then(|nr| nr.checked_mul(PAGE_SIZE));
    Ok((offset, len.ok_or(Errno::EINVAL)?))
}
