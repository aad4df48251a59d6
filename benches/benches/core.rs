//! `cargo bench -p recto-benches --bench core`: the core's operations, one by one, each beside the
//! host kernel's.

use criterion::{Criterion, criterion_group, criterion_main};
use recto_benches::{ours, sys};

const PAGES: u64 = 4096;

fn faults(criterion: &mut Criterion) {
    let Ok(computer) = ours::computer(4 * PAGES) else {
        return;
    };
    let Ok(process) = recto::soft::Process::start(&computer) else {
        return;
    };
    let host_pages = usize::try_from(PAGES).unwrap_or(0);
    let mut group = criterion.benchmark_group("anonymous write fault");
    group.bench_function("recto", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| ours::write_fault(&process, PAGES).unwrap_or_default())
                .sum()
        });
    });
    group.bench_function("host", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| sys::write_fault(host_pages).unwrap_or_default())
                .sum()
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group("read fault on the zero page");
    group.bench_function("recto", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| ours::zero_page_fault(&process, PAGES).unwrap_or_default())
                .sum()
        });
    });
    group.bench_function("host", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| sys::zero_page_fault(host_pages).unwrap_or_default())
                .sum()
        });
    });
    group.finish();
}

fn forks(criterion: &mut Criterion) {
    const FORKED: u64 = 10_000;
    let Ok(mut mapping) = sys::HostMapping::new(usize::try_from(FORKED).unwrap_or(0)) else {
        return;
    };
    let Ok(computer) = ours::computer(2 * FORKED) else {
        return;
    };
    let Ok(process) = ours::resident(&computer, FORKED) else {
        return;
    };
    let mut group = criterion.benchmark_group("fork of 10,000 anonymous pages");
    group.sample_size(20);
    group.bench_function("recto", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| ours::fork_time(&process).unwrap_or_default())
                .sum()
        });
    });
    group.bench_function("host", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| sys::fork_time(&mut mapping).unwrap_or_default())
                .sum()
        });
    });
    group.finish();
}

fn look_ups(criterion: &mut Criterion) {
    const AREAS: u64 = 50_000;
    let Ok(computer) = ours::computer(2 * PAGES) else {
        return;
    };
    let Ok((process, mut addresses)) = ours::many_areas(&computer, AREAS) else {
        return;
    };
    let mut group = criterion.benchmark_group("look-up among 50,000 areas");
    group.bench_function("in order", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| ours::look_up(&process, &addresses).unwrap_or_default())
                .sum()
        });
    });
    ours::shuffle(&mut addresses);
    group.bench_function("in any order", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| ours::look_up(&process, &addresses).unwrap_or_default())
                .sum()
        });
    });
    group.bench_function("in any order, and its lock", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| ours::lock_area(&process, &addresses).unwrap_or_default())
                .sum()
        });
    });
    group.finish();
}

criterion_group!(benches, faults, forks, look_ups);
criterion_main!(benches);
