//! Runs the chapters of the workbook.
