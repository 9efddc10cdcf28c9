//! Whether two things differ: exact statistics of small samples, without assumptions about how the values are
//! distributed.
//!
//! The sample is the run, never the interval of a run: intervals depend on each other. Everything here is
//! exact, that is, the distributions are counted and not approximated; the methods are described in
//! Hollander, Wolfe, Chicken, "Nonparametric Statistical Methods", and are those of R's `wilcox.test(exact =
//! TRUE)`.

/// The result of Wilcoxon's signed-rank test of paired differences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignedRank {
    /// Sum of the ranks of positive differences.
    pub w_plus: f64,
    /// Two-sided probability, 0 to 1, of a sum as far from the middle if there is no difference.
    pub p: f64,
    /// The difference after Hodges and Lehmann: the median of all averages of two.
    pub estimate: f64,
}

/// Wilcoxon's signed-rank test of paired differences. Equal values share their ranks, and zeros have ranks
/// but no sign (Pratt). `None` for no values, or some that are no numbers.
#[must_use]
pub fn signed_rank(differences: &[f64]) -> Option<SignedRank> {
    let walsh = walsh_averages(differences)?;
    let sizes: Vec<f64> = differences.iter().map(|difference| difference.abs()).collect();
    let signed: Vec<(usize, f64)> =
        doubled_ranks(&sizes).into_iter().zip(differences.iter().copied()).collect();
    let signed: Vec<(usize, f64)> = signed.into_iter().filter(|(_, difference)| *difference != 0.0).collect();
    let twice: usize = signed.iter().filter(|(_, difference)| *difference > 0.0).map(|(rank, _)| rank).sum();
    let sums = chances_of_sums(signed.iter().map(|(rank, _)| *rank));
    let (at_most, at_least) = (sums[..=twice].iter().sum::<f64>(), sums[twice..].iter().sum::<f64>());
    Some(SignedRank {
        w_plus: halved(twice),
        p: (2.0 * at_most.min(at_least)).min(1.0),
        estimate: median_of_sorted(&walsh),
    })
}

/// A confidence interval of a difference, in the unit of the differences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfidenceInterval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The probability, 0 to 1, that such an interval holds the difference; at least the level that was asked
    /// for.
    pub level: f64,
}

/// The interval of paired differences that belongs to [`signed_rank`], at this level (0.95, say). `None`
/// where there are too few values for it, whatever they are: five are, for 0.95.
#[must_use]
pub fn interval(differences: &[f64], level: f64) -> Option<ConfidenceInterval> {
    let walsh = walsh_averages(differences)?;
    let sums = chances_of_sums((1..=differences.len()).map(|rank| 2 * rank));
    // Sums of ranks without ties are whole, so every second place is empty.
    let mut outside = 0.0;
    let mut cut = 0;
    for chance in sums.iter().step_by(2) {
        if outside + chance > (1.0 - level) / 2.0 {
            break;
        }
        outside += chance;
        cut += 1;
    }
    let first = usize::checked_sub(cut, 1)?;
    (first < walsh.len().div_ceil(2)).then(|| ConfidenceInterval {
        low: walsh[first],
        high: walsh[walsh.len() - 1 - first],
        level: 1.0 - 2.0 * outside,
    })
}

/// The result of the test of Mann, Whitney and Wilcoxon of two sets of runs that were not made in pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    /// Pairs of one value each in which that of the first set is larger; a tie is half of one.
    pub u: f64,
    /// Two-sided probability, 0 to 1, of a number as far from the middle if there is no difference.
    pub p: f64,
}

/// The test of Mann, Whitney and Wilcoxon. `None` if a set is empty, or for values that are no numbers.
#[must_use]
pub fn mann_whitney(one: &[f64], other: &[f64]) -> Option<MannWhitney> {
    if one.is_empty() || other.is_empty() || !one.iter().chain(other).all(|value| value.is_finite()) {
        return None;
    }
    let all: Vec<f64> = one.iter().chain(other).copied().collect();
    let ranks = doubled_ranks(&all);
    let twice: usize = ranks[..one.len()].iter().sum();
    // The number of ways to choose as many of the ranks as the first set has values, by their sum.
    let most: usize = ranks.iter().sum();
    let mut ways = vec![vec![0.0; most + 1]; one.len() + 1];
    ways[0][0] = 1.0;
    for &rank in &ranks {
        for chosen in (1..=one.len()).rev() {
            let (fewer, these) = ways.split_at_mut(chosen);
            for sum in (rank..=most).rev() {
                these[0][sum] += fewer[chosen - 1][sum - rank];
            }
        }
    }
    let sums = &ways[one.len()];
    // Sums are doubled already, and their mean is `one.len() * (all.len() + 1)`.
    let distance = |sum: usize| sum.abs_diff(one.len() * (all.len() + 1));
    let far: f64 =
        sums.iter().enumerate().filter(|(sum, _)| distance(*sum) >= distance(twice)).map(|(_, n)| n).sum();
    let least = one.len() * (one.len() + 1);
    Some(MannWhitney { u: halved(twice - least), p: (far / sums.iter().sum::<f64>()).min(1.0) })
}

/// The result of the test of Mann and Kendall for a trend in the order of runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannKendall {
    /// Pairs in which the later value is larger, less those in which it is smaller.
    pub s: i64,
    /// Two-sided probability, 0 to 1, of a number as far from zero if the order does not matter.
    pub p: f64,
}

/// The test of Mann and Kendall over values in the order in which they were measured. `None` for values that
/// are no numbers.
#[must_use]
pub fn mann_kendall(values: &[f64]) -> Option<MannKendall> {
    if !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let pairs = || {
        (0..values.len()).flat_map(|later| (0..later).map(move |earlier| (values[earlier], values[later])))
    };
    let rising = pairs().filter(|(earlier, later)| later > earlier).count();
    let falling = pairs().filter(|(earlier, later)| later < earlier).count();
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Groups of equal values are put between each other one after the other. In how many ways that gives so
    // many falling pairs is what the Gaussian binomial coefficients count.
    let (mut ways, mut before) = (vec![1.0], 0);
    for group in sorted.chunk_by(|one, other| one == other) {
        ways = product(&ways, &gaussian_binomial(before, group.len()));
        before += group.len();
    }
    // The number of pairs that differ is that of rising and falling ones in any order.
    let distance = |falls: usize| (rising + falling).abs_diff(2 * falls);
    let far: f64 = ways
        .iter()
        .enumerate()
        .filter(|(falls, _)| distance(*falls) >= distance(falling))
        .map(|(_, n)| n)
        .sum();
    let count = |pairs: usize| i64::try_from(pairs).expect("the values fit into memory");
    Some(MannKendall { s: count(rising) - count(falling), p: (far / ways.iter().sum::<f64>()).min(1.0) })
}

/// Probabilities of several tests, each raised so that all of them together hold, after Holm.
#[must_use]
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&one, &other| probabilities[one].total_cmp(&probabilities[other]));
    let (mut adjusted, mut least) = (vec![0.0; probabilities.len()], 0.0_f64);
    for (place, index) in order.into_iter().enumerate() {
        let left = u32::try_from(probabilities.len() - place).map_or(f64::INFINITY, f64::from);
        least = least.max((probabilities[index] * left).min(1.0));
        adjusted[index] = least;
    }
    adjusted
}

/// The middle of these values; `None` for none, or for values that are no numbers.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let is_good = !values.is_empty() && values.iter().all(|value| value.is_finite());
    is_good.then(|| median_of_sorted(&sorted))
}

/// The averages of all pairs of values, of each with itself too, in order.
fn walsh_averages(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let pairs = values.iter().enumerate();
    let mut averages: Vec<f64> = pairs
        .flat_map(|(index, one)| values[index..].iter().map(|other| f64::midpoint(*one, *other)))
        .collect();
    averages.sort_by(f64::total_cmp);
    Some(averages)
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// Twice the rank of each value, which is whole also where equal values share their ranks.
fn doubled_ranks(values: &[f64]) -> Vec<usize> {
    let smaller = |value: f64| values.iter().filter(|other| **other < value).count();
    let equal = |value: f64| values.iter().filter(|other| **other == value).count();
    values.iter().map(|&value| 2 * smaller(value) + equal(value) + 1).collect()
}

fn halved(twice: usize) -> f64 {
    u32::try_from(twice).map_or(f64::INFINITY, f64::from) / 2.0
}

/// How likely each sum is when each of these is in it or not, with equal chances.
fn chances_of_sums(parts: impl Iterator<Item = usize>) -> Vec<f64> {
    let mut chances = vec![1.0];
    for part in parts {
        let mut next = vec![0.0; chances.len() + part];
        for (sum, chance) in chances.iter().enumerate() {
            next[sum] += chance / 2.0;
            next[sum + part] += chance / 2.0;
        }
        chances = next;
    }
    chances
}

/// How many ways there are to put `some` values between `others` smaller ones, by the number of pairs in
/// which a larger one comes first.
fn gaussian_binomial(others: usize, some: usize) -> Vec<f64> {
    // The coefficients of [others + some over some], row by row.
    let mut rows: Vec<Vec<f64>> = vec![vec![1.0]; some + 1];
    for _ in 0..others {
        for chosen in 1..=some {
            let shifted = &rows[chosen];
            let mut next = vec![0.0; (shifted.len() + chosen).max(rows[chosen - 1].len())];
            next[..rows[chosen - 1].len()].copy_from_slice(&rows[chosen - 1]);
            for (power, count) in shifted.iter().enumerate() {
                next[power + chosen] += count;
            }
            rows[chosen] = next;
        }
    }
    rows.pop().expect("there is a row for none")
}

fn product(one: &[f64], other: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; one.len() + other.len() - 1];
    for (i, a) in one.iter().enumerate() {
        for (j, b) in other.iter().enumerate() {
            product[i + j] += a * b;
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn oracles(of: &str) -> Vec<Value> {
        let all: Value = serde_json::from_str(include_str!("inference_oracles.json")).unwrap();
        all[of].as_array().unwrap().clone()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    #[track_caller]
    fn same(ours: f64, theirs: &Value) {
        let theirs = theirs.as_f64().unwrap();
        assert!((ours - theirs).abs() < 1e-9, "{ours} instead of {theirs}");
    }

    #[test]
    fn paired_differences_are_judged_as_recorded() {
        for case in oracles("signed_rank") {
            let differences = numbers(&case["x"]);
            let judged = signed_rank(&differences).unwrap();
            same(judged.w_plus, &case["w_plus"]);
            same(judged.p, &case["p"]);
            same(judged.estimate, &case["estimate"]);
            for (level, theirs) in [(0.95, &case["interval95"]), (0.99, &case["interval99"])] {
                match interval(&differences, level) {
                    Some(ours) => {
                        same(ours.low, &theirs["lo"]);
                        same(ours.high, &theirs["hi"]);
                        same(ours.level, &theirs["achieved"]);
                    }
                    None => assert!(theirs["lo"].is_null(), "{theirs}"),
                }
            }
        }
    }

    #[test]
    fn sets_trends_and_families_are_judged_as_recorded() {
        for case in oracles("mann_whitney") {
            let judged = mann_whitney(&numbers(&case["x"]), &numbers(&case["y"])).unwrap();
            same(judged.u, &case["u"]);
            same(judged.p, &case["p"]);
        }
        for case in oracles("mann_kendall") {
            let judged = mann_kendall(&numbers(&case["x"])).unwrap();
            assert_eq!(Some(judged.s), case["s"].as_i64());
            same(judged.p, &case["p"]);
        }
        for case in oracles("holm") {
            let adjusted = holm(&numbers(&case["p"]));
            adjusted
                .iter()
                .zip(case["adjusted"].as_array().unwrap())
                .for_each(|(ours, theirs)| same(*ours, theirs));
        }
    }

    #[test]
    fn many_values_take_no_longer_than_a_moment() {
        let values: Vec<f64> = (0..60_u32).map(|index| f64::from(index * 7919 % 61) - 20.0).collect();
        assert!(signed_rank(&values).unwrap().p < 0.01);
        let interval = interval(&values, 0.95).unwrap();
        assert!(interval.low > 0.0 && interval.high < 20.0 && interval.level >= 0.95, "{interval:?}");
        assert!(mann_whitney(&values[..30], &values[30..]).unwrap().p > 0.05);
        assert!(mann_kendall(&values).unwrap().p > 0.05);
    }

    #[test]
    fn nothing_follows_from_nothing() {
        for values in [&[][..], &[f64::NAN], &[1.0, f64::INFINITY]] {
            assert_eq!(signed_rank(values), None);
            assert_eq!(interval(values, 0.95), None);
            assert_eq!(mann_whitney(values, &[1.0]), None);
            assert_eq!(median(values), None);
        }
        assert_eq!(mann_kendall(&[f64::NAN]), None);
        assert_eq!(signed_rank(&[0.0, 0.0]).unwrap().p, 1.0);
        assert_eq!(interval(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }
}
