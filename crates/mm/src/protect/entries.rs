//! Entries get the rights of their area (Linux: `change_pte_range`, `can_change_pte_writable`).

use addr::{MigrationKind, NonPresent, VirtRange, VmFlags};
use frame::{FolioFlags, FrameRecord};
use pgtable::{Entry, EntryFlags, EntryLock, Gather, Visit};
use sync::MayInstall;
use vma::Vma;

use crate::fault::initial_rights;
use crate::mm::Mm;

impl Mm {
    /// Gives the entries of `part` the rights of `vma`. What is lost goes into `gather`.
    pub(crate) fn change_protection(
        &self,
        vma: &Vma,
        part: VirtRange,
        held: &impl MayInstall,
        gather: &mut Gather<'_>,
    ) {
        let rights = initial_rights(vma);
        let upgrade = vma.wants_manual_write_upgrade();
        let mut cursor = self.table().cursor(part, held, Visit::Filled);
        while let Some(lock) = cursor.advance() {
            let entry = lock.read();
            if !entry.is_present() {
                self.demote(lock, held, entry);
                continue;
            }
            let writable = upgrade && self.can_change_writable(vma, entry, rights);
            let rights = if writable {
                rights | EntryFlags::WRITABLE
            } else {
                rights
            };
            let _before = lock.protect(held, gather, rights);
        }
    }

    /// A page that is elsewhere must not come back writable by itself.
    fn demote(&self, lock: &mut EntryLock<'_>, held: &impl MayInstall, entry: Entry) {
        let demoted = match entry.non_present_kind() {
            Some(NonPresent::Migration {
                pfn,
                kind: MigrationKind::Write,
            }) => {
                let record = self.arena().folio_record(pfn);
                let kind = match record.is_some_and(FrameRecord::is_anon) {
                    true => MigrationKind::ReadExclusive,
                    false => MigrationKind::Read,
                };
                NonPresent::Migration { pfn, kind }
            }
            Some(NonPresent::DevicePrivate {
                pfn,
                writable: true,
            }) => NonPresent::DevicePrivate {
                pfn,
                writable: false,
            },
            _ => return,
        };
        let done = lock.install_over(held, entry, Entry::non_present(demoted));
        debug_assert!(done.is_ok(), "inv 26: a locked entry changed");
    }

    /// Whether the entry may allow writes at once, without a fault to see to it: a private page that
    /// is ours alone, or a shared one whose object knows already that it is written.
    fn can_change_writable(&self, vma: &Vma, entry: Entry, rights: EntryFlags) -> bool {
        let flags = vma.flags();
        let readable = rights.contains(EntryFlags::PRESENT);
        if !flags.contains(VmFlags::WRITE) || !readable || entry.is_uffd_wp() {
            return false;
        }
        if flags.contains(VmFlags::SHARED) {
            return entry.is_dirty();
        }
        if entry.is_special() {
            return false;
        }
        let record = entry
            .mapping()
            .and_then(|leaf| self.arena().record(leaf.pfn));
        record.is_some_and(|record| record.is_anon() && record.has(FolioFlags::ANON_EXCLUSIVE))
    }
}
