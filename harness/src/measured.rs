//! What a bench has measured, as it is kept in a file and shown in the book: variants side by
//! side, in one run.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

/// What was measured of several variants.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Measured {
    /// What measures again and writes the file: `cargo xtask bench …`.
    pub command: String,
    /// On what machine, under what load, and of how many rounds: a sentence or two.
    pub how: String,
    /// What was measured, a few words each.
    pub variants: Vec<String>,
    /// The numbers.
    pub rows: Vec<Row>,
}

/// One quantity, of all variants.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Row {
    /// What it is, as `median latency`.
    pub what: String,
    /// Its unit, as `µs`; empty for a count.
    pub unit: String,
    /// A number for each variant, in their order; none is negative.
    pub values: Vec<f64>,
}

impl Row {
    /// A row whose numbers have the three digits that are worth reading.
    #[must_use]
    pub fn new(what: &str, unit: &str, values: impl IntoIterator<Item = f64>) -> Self {
        Self {
            what: what.to_owned(),
            unit: unit.to_owned(),
            values: values.into_iter().map(rounded).collect(),
        }
    }

    /// What it is, with its unit.
    #[must_use]
    pub fn title(&self) -> String {
        match self.unit.as_str() {
            "" => self.what.clone(),
            unit => format!("{}, {unit}", self.what),
        }
    }
}

/// To three digits, and never less than a whole number has.
fn rounded(value: f64) -> f64 {
    let places = match value {
        value if value >= 100.0 => 1.0,
        value if value >= 10.0 => 10.0,
        _ => 100.0,
    };
    (value * places).round() / places
}

impl Measured {
    /// Reads what was measured. `path` is from the workbook's root.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or does not hold a number of each row for each variant.
    pub fn load(root: &Path, path: &str) -> anyhow::Result<Self> {
        let text = fs::read_to_string(root.join(path)).with_context(|| {
            format!("cannot read {path}; its path is from the workbook's folder")
        })?;
        Self::parse(&text).with_context(|| format!("{path} holds nothing that a bench measured"))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let measured: Self = serde_json::from_str(text)?;
        for row in &measured.rows {
            let (numbers, variants) = (row.values.len(), measured.variants.len());
            ensure!(
                numbers == variants,
                "`{}` has {numbers} numbers for {variants} variants",
                row.what
            );
            ensure!(
                row.values.iter().all(|value| *value >= 0.0),
                "`{}` has a number that is less than nothing",
                row.what
            );
        }
        Ok(measured)
    }

    /// Writes it. `path` is from the workbook's root.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn store(&self, root: &Path, path: &str) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(root.join(path), text + "\n").with_context(|| format!("cannot write {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_three_digits() {
        let row = Row::new("CPU", "µs", [1234.5, 12.345, 1.2345, 7.0]);
        assert_eq!(row.values, [1235.0, 12.3, 1.23, 7.0]);
        assert_eq!(row.title(), "CPU, µs");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let measured = Measured {
            command: "cargo xtask bench forward".to_owned(),
            how: "Here.".to_owned(),
            variants: vec!["one".to_owned(), "other".to_owned()],
            rows: vec![Row::new("lines", "", [1.0, 2.0])],
        };
        measured.store(folder.path(), "measured.json").unwrap();
        let read = Measured::load(folder.path(), "measured.json").unwrap();
        assert_eq!(read, measured);
    }

    #[test]
    fn a_row_has_a_number_for_each_variant() {
        for (values, why) in [
            ("[1]", "`lines` has 1 numbers for 2 variants"),
            ("[1, -2]", "`lines` has a number that is less than nothing"),
        ] {
            let text = format!(
                r#"{{"command": "", "how": "", "variants": ["a", "b"],
                    "rows": [{{"what": "lines", "unit": "", "values": {values}}}]}}"#
            );
            let error = Measured::parse(&text).unwrap_err().to_string();
            assert_eq!(error, why);
        }
    }
}
