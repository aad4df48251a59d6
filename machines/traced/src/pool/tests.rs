use std::sync::mpsc::channel;

use super::*;

/// Jobs that never end keep no other job from being done.
// row: S12
#[test]
fn jobs_that_wait_stop_no_others() {
    const NR_WAITING: u64 = 8;
    let (reports, done) = channel();
    let mut pool = Pool::new(move |done: Done| {
        let _nobody_listens = reports.send(done.ticket);
    });
    let (let_go, waits) = channel::<()>();
    let waits = Arc::new(Mutex::new(waits));
    for _ in 0..NR_WAITING {
        let waits = Arc::clone(&waits);
        let waiting = Work::new(move || {
            let waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
            let _never = waits.recv();
            Ok(())
        });
        assert!(pool.submit(Job::Work(waiting)).is_ok());
    }
    let quick = pool.submit(Job::Work(Work::new(|| Ok(()))));
    assert_eq!(done.recv().ok(), quick.ok());
    drop(let_go);
    let mut others: Vec<u64> = done.iter().take(NR_WAITING as usize).map(|t| t.0).collect();
    others.sort_unstable();
    assert_eq!(others, (0..NR_WAITING).collect::<Vec<u64>>());
}
