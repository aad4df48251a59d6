//! What programs or other machines may use. `recto run` does without.

use std::fs::File;

use super::surroundings::setting;
use super::tracing::explained;
use super::{Cause, Failure, Finding, Trouble, UNUSED, told};
use crate::sys::probe::Child;

pub(super) fn user_namespaces() -> Finding {
    const NAME: &str = "user namespaces";
    match make_namespace() {
        Ok(()) => Finding::works(NAME, "a child made one"),
        Err(trouble) => Finding::fails(NAME, trouble, UNUSED),
    }
}

fn make_namespace() -> Result<(), Trouble> {
    const CALL: &str = "unshare";
    let child = Child::in_user_namespace().map_err(Trouble::childless)?;
    let heard = child.hear().map_err(Failure::unanswered(CALL));
    let made = heard.and_then(|word| told(CALL, word));
    made.map(drop).map_err(|failure| match failure {
        Failure::Refused(..) => Trouble {
            failure,
            cause: why_no_namespace(),
        },
        _ => explained(failure, &child),
    })
}

fn why_no_namespace() -> Cause {
    const SETTINGS: [(&str, &str, &str); 3] = [
        (
            "/proc/sys/user/max_user_namespaces",
            "user.max_user_namespaces",
            "0",
        ),
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "kernel.unprivileged_userns_clone",
            "0",
        ),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "kernel.apparmor_restrict_unprivileged_userns",
            "1",
        ),
    ];
    let barring = SETTINGS
        .iter()
        .find(|(path, _, bars)| setting(path).as_deref() == Some(bars));
    match barring {
        Some((_, name, bars)) => Cause::new(
            format!("{name} = {bars}"),
            match *bars {
                "1" => format!("sysctl {name}=0"),
                _ => format!("sysctl {name}=10000"),
            },
        ),
        None => Cause::new(
            "a seccomp filter, a chroot or a security module",
            "run outside of what confines this process",
        ),
    }
}

pub(super) fn kvm() -> Finding {
    const NAME: &str = "KVM";
    const DEVICE: &str = "/dev/kvm";
    let error = match File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => return Finding::works(NAME, "/dev/kvm opens"),
        Err(error) => error,
    };
    let cause = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            Cause::new("the rights on /dev/kvm", "join the group of /dev/kvm")
        }
        _ => Cause::new("no KVM in this kernel", "load kvm_intel or kvm_amd"),
    };
    let failure = Failure::Refused(DEVICE, error.into());
    Finding::fails(NAME, Trouble { failure, cause }, UNUSED)
}
