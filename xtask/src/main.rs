//! The command line of the workbook.
fn main() {}
