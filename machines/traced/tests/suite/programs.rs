//! Programs behave on our page tables as they do on the host's.

use crate::support::{compiled, is_installed, native, same, traced};

fn same_program(name: &str, flags: &[&str]) {
    let Some(program) = compiled(name, flags) else {
        return;
    };
    same(&[&program.to_string_lossy()]);
}

#[test]
fn a_static_program_without_libc_runs() {
    same_program("nolibc", &["-static", "-nostdlib", "-fno-stack-protector"]);
}

#[test]
fn threads_share_one_memory() {
    same_program("threads", &["-pthread"]);
    same_program("threads", &["-static", "-pthread"]);
}

#[test]
fn shared_memory_is_shared_across_fork_and_with_the_file() {
    same_program("shared", &[]);
}

#[test]
fn a_listing_is_the_same() {
    same(&["ls", "-l", "/usr/bin"]);
}

#[test]
fn a_pipeline_of_ten_stages_with_background_jobs_runs() {
    if !is_installed("bash") {
        return;
    }
    same(&[
        "bash",
        "-c",
        "(sleep 0.05; true) & seq 1 2000 | sort -r | tac | rev | cat | tail -n 50 | cat | \
         sed s/1/x/g | sort | wc -c; wait; (exit 3)",
    ]);
}

#[test]
fn python_runs_threads_children_and_shared_maps() {
    if !is_installed("python3") {
        return;
    }
    same(&[
        "python3",
        "-c",
        "import threading, subprocess, os, mmap\n\
         found = []\n\
         threads = [threading.Thread(target=found.append, args=(i,)) for i in range(8)]\n\
         [t.start() for t in threads]; [t.join() for t in threads]\n\
         print(sorted(found), subprocess.check_output(['echo', 'x']))\n\
         shared = mmap.mmap(-1, 8192)\n\
         child = os.fork()\n\
         if child == 0:\n    shared[0] = 9; os._exit(4)\n\
         print(os.waitpid(child, 0)[1] >> 8, shared[0], sum(range(10**6)))",
    ]);
}

#[test]
fn a_compiler_makes_a_program_that_runs() {
    if !is_installed("gcc") {
        return;
    }
    let target = crate::support::scratch("compiled").join(crate::support::unique());
    let source = format!("{}/tests/programs/nolibc.c", env!("CARGO_MANIFEST_DIR"));
    let target = target.to_string_lossy();
    let line = [
        "gcc",
        "-static",
        "-nostdlib",
        "-fno-stack-protector",
        "-w",
        "-o",
        &target,
        &source,
    ];
    let Some((ours, _)) = traced(&line) else {
        return;
    };
    assert_eq!(ours.status, 0, "gcc ended with {ours:?}");
    same(&[&target]);
}

#[test]
fn a_fatal_signal_ends_the_run_as_it_ended_the_program() {
    same(&["sh", "-c", "kill -9 $$"]);
    same(&["sh", "-c", "kill -SEGV $$"]);
    same(&["sh", "-c", "exit 77"]);
}

/// Every access and every pointer gets exactly the signal, the code, or the EFAULT of the host.
// row: F12
#[test]
fn bad_accesses_and_wild_pointers_get_what_linux_gives() {
    if !is_installed("setarch") {
        return;
    }
    let Some(program) = compiled("accesses", &[]) else {
        return;
    };
    same(&["setarch", "-R", &program.to_string_lossy()]);
}

/// A program that reads its own maps sees our areas in the kernel's text.
// row: A11
#[test]
fn own_maps_are_in_the_kernels_text() {
    if !is_installed("setarch") {
        return;
    }
    let Some(program) = compiled("own_maps", &[]) else {
        return;
    };
    let words = ["setarch", "-R", &program.to_string_lossy()];
    let Some((ours, _)) = traced(&words) else {
        return;
    };
    let native = native(&words);
    // The inode of shared anonymous memory is a running number.
    let masked = |text: &str| -> Vec<String> {
        let line = |line: &str| match line.contains("/dev/zero (deleted)") {
            true => line
                .split_whitespace()
                .take(4)
                .collect::<Vec<_>>()
                .join(" "),
            false => line.to_owned(),
        };
        text.lines().map(line).collect()
    };
    assert_eq!(masked(&ours.out), masked(&native.out));
}

/// The host may be a kernel that knows no names, so what is expected is written here.
#[test]
fn names_of_anonymous_memory_are_shown() {
    let Some(program) = compiled("names", &[]) else {
        return;
    };
    let Some((ours, _)) = traced(&[&program.to_string_lossy()]) else {
        return;
    };
    let expected = "named\nnamed\nInvalid argument\nInvalid argument\nBad address\n\
                    Cannot allocate memory\n0 1 [anon:first of four]\n2 1 [anon:third]\n";
    assert_eq!(ours.out, expected);
}

/// Programs that unmap themselves, jump into the stub page, map over it, make calls that do not
/// exist, exec from a thread, die while they fork: each ends as on the host, and nothing hangs.
#[test]
fn hostile_programs_end_as_on_the_host() {
    if !is_installed("setarch") {
        return;
    }
    let Some(program) = compiled("hostile", &["-pthread"]) else {
        return;
    };
    same(&["setarch", "-R", &program.to_string_lossy()]);
}

/// Children forked while other threads write and a read is in flight see one moment of the memory.
// row: M20
#[test]
fn a_fork_under_writing_threads_is_one_moment() {
    same_program("fork_under_writers", &["-pthread"]);
    same_program("forking_threads", &["-pthread"]);
}
