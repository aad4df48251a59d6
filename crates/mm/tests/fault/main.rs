//! The fault, driven through the public API: with the soft machine, whose CPUs walk our tables, and
//! with no machine at all.

mod space;

mod anon;
mod request;
mod file;
mod cow;
mod device;
mod stack;
mod races;
mod notes;
mod guards;
mod access;
mod around;
mod accounts;
mod lifecycle;
mod views;
mod memory;
mod stress;
mod walks;
mod windows;
mod table;
mod ui;
