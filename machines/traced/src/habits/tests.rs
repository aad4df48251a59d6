use super::*;

fn inode(ino: u64) -> InodeId {
    InodeId {
        major: 8,
        minor: 1,
        ino,
    }
}

fn touch(file: u64, page: u64) -> Touch {
    Touch {
        file: inode(file),
        page: PgOff::new(page),
        access: Access::Read,
    }
}

#[test]
fn what_a_program_touched_is_known_by_file() {
    let mut habits = Habits::default();
    habits.begin(inode(1));
    for touch in [touch(7, 0), touch(8, 0), touch(7, 3), touch(7, 0)] {
        habits.note(inode(1), touch);
    }
    assert_eq!(habits.of(inode(1), inode(7)), [touch(7, 0), touch(7, 3)]);
    assert_eq!(habits.of(inode(2), inode(7)), []);
}

#[test]
fn of_a_program_so_many_touches_are_kept() {
    let mut habits = Habits::default();
    habits.begin(inode(1));
    let nr = NR_TOUCHES_MAX as u64;
    for page in 0..nr + 2 {
        habits.note(inode(1), touch(7, page));
    }
    let kept = habits.of(inode(1), inode(7));
    assert_eq!(kept.len(), NR_TOUCHES_MAX);
    assert_eq!(kept.first(), Some(&touch(7, 2)));
    assert_eq!(kept.last(), Some(&touch(7, nr + 1)));
}

#[test]
fn the_program_that_has_not_begun_for_longest_is_forgotten() {
    let mut habits = Habits::default();
    let nr = NR_PROGRAMS_MAX as u64;
    for program in 0..nr {
        habits.begin(inode(program));
        habits.note(inode(program), touch(7, 0));
    }
    habits.begin(inode(0));
    habits.begin(inode(nr));
    assert_eq!(habits.programs.len(), NR_PROGRAMS_MAX);
    assert_eq!(habits.of(inode(0), inode(7)), [touch(7, 0)]);
    assert_eq!(habits.of(inode(1), inode(7)), []);
    // It runs still, and its accesses are nobody's.
    habits.note(inode(1), touch(7, 0));
    assert_eq!(habits.programs.len(), NR_PROGRAMS_MAX);
}

#[test]
fn the_habits_with_a_file_are_taken_up_once() {
    let mut own = Own::of(inode(1));
    assert_eq!(own.owner(inode(7)), None);
    assert_eq!(own.take_up(inode(7)), Some(inode(1)));
    assert_eq!(own.take_up(inode(7)), None);
    assert_eq!(own.owner(inode(7)), Some(inode(1)));
    for file in 0..2 * NR_FILES_MAX as u64 {
        own.take_up(inode(file));
    }
    assert_eq!(own.taken_up.len(), NR_FILES_MAX);
}
