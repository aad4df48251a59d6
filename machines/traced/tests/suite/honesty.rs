//! The host has nothing in a program but runs of the arena, runs of files, the vDSO family, the stub's
//! two pages, and a cover without a page of its own; and nothing is left behind when the tracer dies.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{ARENA_FRAMES, compiled, run, scratch, skipped, unique};
use traced::{Ending, RunConfig};

/// An area of the host's: its line of maps, and the size of the pages that it has.
struct Area<'a> {
    line: &'a str,
    resident: &'a str,
}

/// Why an area of the host's should not be there; `None` for one that may.
fn complaint(area: &Area<'_>) -> Option<&'static str> {
    let Area { line, resident } = area;
    let mut words = line.split_whitespace();
    let (range, rights) = (words.next()?, words.next()?);
    let name = words.nth(3).unwrap_or("");
    let rest: Vec<&str> = words.collect();
    if ["[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]"].contains(&name) {
        return None;
    }
    if !rights.ends_with('s') {
        let is_cover = name.is_empty() && *resident == "0";
        return (!is_cover).then_some("private to the host");
    }
    match name {
        "" => Some("nobody's"),
        "/memfd:recto-arena" => None,
        "/memfd:recto-stub" | "/memfd:recto-orders" => {
            let wanted = if name.ends_with("stub") {
                "r-xs"
            } else {
                "r--s"
            };
            let (start, end) = range.split_once('-')?;
            let start = u64::from_str_radix(start, 16).ok()?;
            let end = u64::from_str_radix(end, 16).ok()?;
            (end - start != 4096 || rights != wanted).then_some("no page of the stub")
        }
        file if file.starts_with('/') => None,
        _ => {
            let _ = rest;
            Some("unknown")
        }
    }
}

fn wait_for_list(path: &Path) -> Option<Vec<String>> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.contains("ready") {
            // The child's line may come after it.
            std::thread::sleep(Duration::from_millis(300));
            let text = std::fs::read_to_string(path).unwrap_or_default();
            return Some(text.lines().map(str::to_owned).collect());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// The areas of a text of smaps.
fn areas(smaps: &str) -> Vec<Area<'_>> {
    let mut areas: Vec<Area<'_>> = Vec::new();
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or("");
        if !first.ends_with(':') {
            areas.push(Area { line, resident: "" });
        } else if first == "Rss:"
            && let Some(area) = areas.last_mut()
        {
            area.resident = words.next().unwrap_or("");
        }
    }
    areas
}

/// All lines of all tasks' maps, and of the tasks made in them (keepers).
fn look(list: &Path) -> Result<usize, String> {
    let lines = wait_for_list(list).ok_or("the program never got ready")?;
    let mut seen = 0;
    for task in lines.iter().filter(|line| *line != "ready") {
        let smaps = std::fs::read_to_string(format!("/proc/{task}/smaps"))
            .map_err(|error| format!("task {task}: {error}"))?;
        let (mut nr_stubs, mut nr_orders) = (0, 0);
        for area in areas(&smaps) {
            let line = area.line;
            if let Some(why) = complaint(&area) {
                return Err(format!("task {task} has what is {why}: {line}"));
            }
            nr_stubs += usize::from(line.contains("recto-stub"));
            nr_orders += usize::from(line.contains("recto-orders"));
            seen += 1;
        }
        if (nr_stubs, nr_orders) != (1, 1) {
            return Err(format!(
                "task {task} has {nr_stubs} stub pages, {nr_orders} of orders"
            ));
        }
    }
    Ok(seen)
}

#[test]
fn the_host_has_only_what_it_was_given() {
    let Some(program) = compiled("family", &["-pthread"]) else {
        return;
    };
    let list = scratch("honesty").join(unique());
    let watcher = std::thread::spawn({
        let list = list.clone();
        move || look(&list)
    });
    let config = RunConfig::new(program, vec![list.into_os_string()], ARENA_FRAMES);
    let Some(outcome) = run(&config) else { return };
    assert_eq!(outcome.ending, Ending::Exited(0));
    let seen = watcher
        .join()
        .expect("the watcher")
        .expect("only what was given");
    assert!(seen > 20, "only {seen} lines were looked at");
}

/// The second half of the next test: a run in a process of its own.
#[test]
#[ignore = "started by another test"]
fn run_what_the_environment_names() {
    let Some(words) = std::env::var_os("RECTO_TEST_LINE") else {
        return;
    };
    let config = RunConfig::new("sh", vec!["-c".into(), words], ARENA_FRAMES);
    let _ = run(&config);
}

#[test]
fn killing_the_tracer_leaves_nothing_behind() {
    if traced_is_refused() {
        return;
    }
    let list = scratch("honesty").join(unique());
    let line = format!(
        "sleep 100 & echo $! >> {0}; echo $$ >> {0}; (echo $BASHPID; echo ready) >> {0}; sleep 100",
        list.display()
    );
    let mut tracer = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "honesty::run_what_the_environment_names",
            "--ignored",
            "--nocapture",
        ])
        .env("RECTO_TEST_LINE", &line)
        .spawn()
        .expect("this test again");
    let lines = wait_for_list(&list);
    tracer.kill().expect("the tracer lives");
    tracer.wait().expect("the tracer's end");
    let lines = lines.expect("the program got ready");
    let began = Instant::now();
    for task in lines.iter().filter(|line| line.parse::<u32>().is_ok()) {
        while is_alive(task) {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "task {task} outlives its tracer"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn traced_is_refused() -> bool {
    let config = RunConfig::new("true", Vec::new(), ARENA_FRAMES);
    if run(&config).is_none() {
        skipped("this host does not let us trace");
        return true;
    }
    false
}

/// A zombie that nobody has waited for is not alive.
fn is_alive(task: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{task}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    !matches!(state, None | Some("Z" | "X"))
}
