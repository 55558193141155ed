//! The bar of phases, as inline SVG. Each part has its number; the table below has the words, so
//! that nothing depends on colour.

use maud::{Markup, html};

use super::drill::Phase;
use super::text::seconds;
use crate::base::display::text as visible;

/// Width of the drawing in its own units; the page scales it.
const WIDTH: f64 = 1000.0;
/// A part that took a moment is still seen.
const PART_WIDTH_MIN: f64 = 7.0;
/// A part narrower than this has no room for its number.
const NUMBER_WIDTH: f64 = 22.0;
/// There are five tones; more phases begin again.
const TONES: usize = 5;

/// The class of a phase's tone.
pub(super) fn tone(at: usize) -> String {
    format!("p{}", at % TONES + 1)
}

/// The seconds of a phase, as a number that can be drawn.
fn drawn(phase: &Phase) -> f64 {
    if phase.s.is_finite() { phase.s.max(0.0) } else { 0.0 }
}

/// All phases together.
pub(super) fn total(phases: &[Phase]) -> f64 {
    phases.iter().map(drawn).sum()
}

/// A phase's share of all of them in percent.
pub(super) fn percent(phase: &Phase, phases: &[Phase]) -> f64 {
    let total = total(phases);
    if total > 0.0 { drawn(phase) * 100.0 / total } else { 0.0 }
}

/// The bar. `name` gives a phase's name for people.
pub(super) fn phases<'a>(phases: &'a [Phase], name: impl Fn(&'a str) -> &'a str) -> Markup {
    let parts = widths(phases);
    let spoken: Vec<String> =
        phases.iter().map(|phase| format!("{} {}", visible(name(&phase.name)), seconds(phase.s))).collect();
    html! {
        svg.bar viewBox="0 0 1000 46" preserveAspectRatio="none" role="img" aria-label=(spoken.join(", ")) {
            @for (at, (x, width)) in parts.iter().enumerate() {
                rect class=(tone(at)) x=(coordinate(*x)) y="0" width=(coordinate((width - 2.0).max(1.0))) height="46" {}
            }
            @for (at, (x, width)) in parts.iter().enumerate() {
                @if *width >= NUMBER_WIDTH {
                    text x=(coordinate(x + width / 2.0 - 1.0)) y="28" text-anchor="middle" { (at + 1) }
                }
            }
        }
    }
}

/// Left edge and width of each part; together they are [`WIDTH`] wide.
fn widths(phases: &[Phase]) -> Vec<(f64, f64)> {
    let total = total(phases);
    let wanted = phases.iter().map(|phase| {
        let share = if total > 0.0 { drawn(phase) / total } else { 1.0 / phases.len() as f64 };
        (share * WIDTH).max(PART_WIDTH_MIN)
    });
    let wanted: Vec<f64> = wanted.collect();
    let scale = WIDTH / wanted.iter().sum::<f64>().max(1.0);
    let mut x = 0.0;
    let place = |width: f64| {
        let left = x;
        x += width * scale;
        (left, width * scale)
    };
    wanted.into_iter().map(place).collect()
}

fn coordinate(value: f64) -> String {
    format!("{value:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_is_seen_and_the_bar_is_full() {
        let phase = |s: f64| Phase { name: "p".to_owned(), s, bytes: 0 };
        for list in [vec![0.0, 3600.0, 0.001], vec![0.0, 0.0], vec![f64::NAN, 1.0], vec![1.0; 9]] {
            let list: Vec<Phase> = list.into_iter().map(phase).collect();
            let parts = widths(&list);
            assert!(parts.iter().all(|(x, width)| *width > 5.0 && x.is_finite()), "{parts:?}");
            let (x, width) = parts[parts.len() - 1];
            assert!((x + width - WIDTH).abs() < 1e-6);
        }
        assert!(widths(&[]).is_empty());
    }
}
