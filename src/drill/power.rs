//! How much damage a sample can see.

use crate::base::size::format_count;

/// The sentence for a report: `200 of 412,309 files detect damage in >= 1.5 % of files with 95 %
/// confidence`. The percentage is rounded up: never more is claimed than is true.
pub fn sentence(sample: u64, population: u64) -> String {
    if population == 0 {
        return "there were no files to pick from; nothing can be detected".to_owned();
    }
    if sample >= population {
        return format!(
            "all {} files were restored: damage in any of them is detected",
            format_count(population)
        );
    }
    if sample == 0 {
        return "no file was picked at random; nothing can be said about the others".to_owned();
    }
    let percent = detectable(sample, population) * 100.0;
    let percent =
        if percent >= 1.0 { (percent * 10.0).ceil() / 10.0 } else { (percent * 100.0).ceil() / 100.0 };
    format!(
        "{} of {} files detect damage in \u{2265} {percent} % of files with 95 % confidence",
        format_count(sample),
        format_count(population)
    )
}

/// The smallest share of damaged files of which a sample hits at least one with 95 % confidence.
///
/// For a large population it is 1 - 0.05^(1/n). For a small one, draws without replacement see
/// more: the smallest D with C(N-D, n) / C(N, n) <= 0.05, as D / N.
pub fn detectable(sample: u64, population: u64) -> f64 {
    let (mut unseen, mut seen) = (0, population);
    while seen - unseen > 1 {
        let middle = unseen + (seen - unseen) / 2;
        if miss_ln(middle, sample, population) <= 0.05f64.ln() {
            seen = middle;
        } else {
            unseen = middle;
        }
    }
    if population == 0 { 1.0 } else { seen as f64 / population as f64 }
}

/// Logarithm of the chance that none of `damaged` files is among the sample.
fn miss_ln(damaged: u64, sample: u64, population: u64) -> f64 {
    if damaged + sample > population {
        return f64::NEG_INFINITY;
    }
    // The product is symmetric in damaged and sample; the shorter one is multiplied out.
    let (factors, taken) = if damaged < sample { (damaged, sample) } else { (sample, damaged) };
    (0..factors).map(|i| (1.0 - taken as f64 / (population - i) as f64).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_populations_follow_the_formula() {
        for sample in [50u64, 100, 200, 500, 1000] {
            let formula = 1.0 - 0.05f64.powf(1.0 / sample as f64);
            let exact = detectable(sample, 1_000_000_000);
            assert!((exact - formula).abs() < 1e-6, "{sample}: {exact} {formula}");
        }
        assert_eq!(
            sentence(200, 412_309),
            "200 of 412,309 files detect damage in \u{2265} 1.5 % of files with 95 % confidence"
        );
    }

    #[test]
    fn small_populations_are_counted_out() {
        // 10 files, 5 drawn: C(10-D,5)/C(10,5) is 0.0833 for D = 3 and 0.0238 for D = 4.
        assert!((detectable(5, 10) - 0.4).abs() < 1e-12);
        // 95 of 100 drawn: one damaged file is missed in exactly 5 % of draws.
        assert!((detectable(96, 100) - 0.01).abs() < 1e-12);
        assert!(sentence(10, 10).starts_with("all 10 files"));
        assert!(sentence(5, 0).contains("nothing"));
        assert!(sentence(0, 5).contains("no file was picked"));
    }
}
