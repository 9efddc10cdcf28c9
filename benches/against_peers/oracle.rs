//! What the data path could do if it knew the best sizes and engines beforehand: they are searched for in a
//! coarse grid of settings, and the best of them is then measured anew beside what it chooses by itself.

use super::judge::median;
use super::work::{Pairing, Work};

const KIB: u32 = 1024;
const ENGINES: [&str; 2] = ["uring", "sync"];
const UDP_SENDING_ENGINES: [&str; 3] = ["uring-zc", "uring", "sync"];
const SENDS: [u32; 4] = [64 * KIB, 128 * KIB, 256 * KIB, 1024 * KIB];
const RECEIVES: [u32; 3] = [128 * KIB, 256 * KIB, 1024 * KIB];
/// Largest receive mark; 0 for none.
const MARKS: [u32; 2] = [0, 512 * KIB];
/// Sends in flight of a ring.
const DEPTHS: [u32; 2] = [1, 2];

/// Rounds of the search: how many settings are in each, how often each is run, and for how many seconds.
pub const ROUNDS: [(usize, usize, f64); 3] = [(usize::MAX, 1, 0.3), (12, 3, 0.5), (4, 4, 1.0)];

/// Everything that is fixed of a test of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Options of the client besides the row's.
    pub client: String,
    /// Options of the server.
    pub server: String,
}

/// All settings of the grid for that work; none where there is nothing to choose.
pub fn grid(work: &Work) -> Vec<Setting> {
    if work.pairing != Pairing::Own {
        return Vec::new();
    }
    let options = work.our_options();
    let has = |wanted: &str| options.split_whitespace().any(|option| option == wanted);
    let udp = has("-u");
    let sending: &[&str] = match () {
        // What is asked for stays.
        () if has("--engine") || has("-Z") => &[""],
        () if udp => &UDP_SENDING_ENGINES,
        () => &ENGINES,
    };
    let receiving: &[&str] = if has("--peer-engine") { &[""] } else { &ENGINES };
    let sizes = match () {
        () if udp => vec![String::new()],
        () if has("-l") => tunings(&[None]),
        () => tunings(&SENDS.map(Some)),
    };
    let both_ways = has("--bidir");
    let engines =
        sending.iter().flat_map(|sending| receiving.iter().map(move |receiving| (*sending, *receiving)));
    // One name is for both directions of an end.
    let engines =
        engines.filter(|(sending, receiving)| !both_ways || sending == receiving || sending.is_empty());
    let option =
        |name, value: &str| if value.is_empty() { String::new() } else { format!(" --{name} {value}") };
    engines
        .flat_map(|(sending, receiving)| {
            let (here, there) = if has("-R") { (receiving, sending) } else { (sending, receiving) };
            let engines = option("engine", here) + &option("peer-engine", there);
            sizes.iter().filter(move |sizes| sending != "sync" || !sizes.contains("depth=2")).map(
                move |sizes| {
                    let tune = option("tune", sizes);
                    Setting {
                        client: format!("{engines}{tune}").trim().to_owned(),
                        server: tune.trim().to_owned(),
                    }
                },
            )
        })
        .collect()
}

fn tunings(sends: &[Option<u32>]) -> Vec<String> {
    let mut tunings = Vec::new();
    for send in sends {
        for receive in RECEIVES {
            for mark in MARKS {
                // More than one large send in flight is a question of its own.
                let depths = if *send == Some(SENDS[3]) && mark == 0 { &DEPTHS[..] } else { &DEPTHS[..1] };
                for depth in depths {
                    let send = send.map_or_else(String::new, |send| format!("send={send},depth={depth},"));
                    tunings.push(format!("{send}receive={receive},mark={mark}"));
                }
            }
        }
    }
    tunings
}

/// Searches for the fastest of the settings. `run` runs one for so many seconds and gives its rate.
///
/// # Errors
/// Those of `run`.
pub fn search<E>(
    settings: Vec<Setting>,
    mut run: impl FnMut(&Setting, f64) -> Result<f64, E>,
) -> Result<Option<Setting>, E> {
    let mut left: Vec<(Setting, f64)> = settings.into_iter().map(|setting| (setting, 0.0)).collect();
    for (most, times, seconds) in ROUNDS {
        left.truncate(most);
        let mut rates = vec![Vec::new(); left.len()];
        for _ in 0..times {
            for ((setting, _), rates) in left.iter().zip(&mut rates) {
                rates.push(run(setting, seconds)?);
            }
        }
        for ((_, rate), rates) in left.iter_mut().zip(rates) {
            *rate = median(rates.into_iter());
        }
        left.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    }
    Ok(left.into_iter().next().map(|(setting, _)| setting))
}

/// How many runs a search takes.
pub fn runs(settings: usize) -> usize {
    ROUNDS.iter().map(|(most, times, _)| settings.min(*most) * times).sum()
}
