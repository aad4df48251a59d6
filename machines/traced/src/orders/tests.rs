use super::*;

#[test]
fn results_come_through_the_offset_of_a_file() {
    let offset = |left: i64, answer: i64| left << 48 | answer & 0xffff_ffff_ffff;
    let told = |left, answer| Report::from_offset(offset(left, answer));
    assert_eq!(told(1, 0), Report::Left(1, 0));
    assert_eq!(told(62, -12), Report::Left(62, -12));
    assert_eq!(told(3, 0x7fff_ffff_f000), Report::Left(3, 0x7fff_ffff_f000));
}

#[test]
fn a_mapping_leaves_room_for_the_secret() {
    let arguments = [1, 2, 3, u64::MAX, u64::MAX, 6];
    let mapping = Order::new(libc::SYS_mmap, arguments).expecting(1);
    let low = u64::from(u32::MAX);
    assert_eq!(mapping.words(), [9, 1, 2, 3, low, low, 6, 1]);
    let other = Order::new(libc::SYS_mremap, arguments);
    assert_eq!(other.words(), [25, 1, 2, 3, u64::MAX, u64::MAX, 6, 0]);
}
