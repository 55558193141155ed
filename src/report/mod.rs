//! Records as data, then as pages. A number without a record is not in a report.
