//! The figure of what a bench has measured: for each quantity a bar per variant, and all numbers
//! in a table.

use std::fmt::Write as _;

use harness::measured::{Measured, Row};
use mdbook_core::utils::escape_html as escape;

use crate::pod::narrow;

// All lengths are in units of the picture, which is as wide as a telephone shows it legibly.
const WIDTH: f64 = 460.0;
/// Where bars begin: the names of the variants are before it.
const LEFT: f64 = 132.0;
/// What is kept free for the number after the longest bar.
const RIGHT: f64 = 66.0;
/// The title of a quantity.
const TITLE: f64 = 22.0;
/// A bar, and what is kept free below it.
const BAR: f64 = 20.0;
/// Between two quantities.
const GAP: f64 = 10.0;

/// Draws it, as one line of HTML. `number` tells the figures of a page apart.
pub(crate) fn draw(measured: &Measured, number: usize) -> String {
    let (mut svg, mut top) = (String::new(), 0.0);
    for row in &measured.rows {
        let _ = write!(
            svg,
            r#"<text class="what" x="0" y="{}"{}>{}</text>"#,
            top + 14.0,
            narrow(&row.title(), WIDTH as usize),
            escape(&row.title())
        );
        top += TITLE;
        bars(&mut svg, measured, row, top);
        top += BAR * measured.variants.len() as f64 + GAP;
    }
    let what = Vec::from_iter(measured.rows.iter().map(|row| row.what.as_str()));
    format!(
        r#"<svg class="measured" role="img" aria-labelledby="measured-{number}-title measured-{number}-desc" viewBox="0 0 {WIDTH} {top}" xmlns="http://www.w3.org/2000/svg"><title id="measured-{number}-title">{}, side by side</title><desc id="measured-{number}-desc">Bars for {}. The table that follows has the same numbers.</desc>{svg}</svg>"#,
        escape(&measured.variants.join(", ")),
        escape(&what.join(", "))
    )
}

/// The bars of one quantity, the longest of which takes the whole width.
fn bars(svg: &mut String, measured: &Measured, row: &Row, top: f64) {
    let longest = row.values.iter().copied().fold(0.0, f64::max);
    for (index, (variant, value)) in measured.variants.iter().zip(&row.values).enumerate() {
        let part = if longest > 0.0 { value / longest } else { 0.0 };
        // A hundredth of a unit cannot be seen, and nothing at all should be.
        let width = ((part * (WIDTH - LEFT - RIGHT)).max(1.0) * 100.0).round() / 100.0;
        let y = top + BAR * index as f64;
        let _ = write!(
            svg,
            r#"<text x="0" y="{}"{}>{}</text><rect class="bar" x="{LEFT}" y="{y}" width="{width}" height="14"/><text class="value" x="{}" y="{}">{value}</text>"#,
            y + 11.5,
            narrow(variant, LEFT as usize - 8),
            escape(variant),
            LEFT + width + 6.0,
            y + 11.5,
        );
    }
}

/// All numbers, what measured them, and how, as Markdown.
pub(crate) fn table(measured: &Measured) -> String {
    let mut table = "| What |".to_owned();
    for variant in &measured.variants {
        let _ = write!(table, " {variant} |");
    }
    table.push_str("\n|---|");
    table.push_str(&"--:|".repeat(measured.variants.len()));
    for row in &measured.rows {
        let _ = write!(table, "\n| {} |", row.title());
        for value in &row.values {
            let _ = write!(table, " {value} |");
        }
    }
    format!("{table}\n\n{}\n", measured.how)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        Measured {
            command: "cargo xtask bench forward".to_owned(),
            how: "A machine of two cores.".to_owned(),
            variants: vec!["alone".to_owned(), "with <both>".to_owned()],
            rows: vec![
                Row::new("latency", "µs", [50.0, 200.0]),
                Row::new("lines", "", [0.0, 0.0]),
            ],
        }
    }

    #[test]
    fn a_bar_is_as_long_as_its_part_of_the_longest() {
        let svg = draw(&measured(), 1);
        let longest = WIDTH - LEFT - RIGHT;
        for width in [longest / 4.0, longest, 1.0] {
            assert!(svg.contains(&format!(r#"width="{width}""#)), "{svg}");
        }
        assert!(svg.contains(">latency, µs</text>"), "{svg}");
        assert!(svg.contains(">with &lt;both&gt;</text>"), "{svg}");
        assert!(!svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn the_table_has_the_numbers() {
        assert_eq!(
            table(&measured()),
            "| What | alone | with <both> |\n|---|--:|--:|\n| latency, µs | 50 | 200 |\n| lines | 0 | 0 |\n\n\
             A machine of two cores.\n"
        );
    }
}
