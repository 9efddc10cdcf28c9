//! Hand-made tokens at a ringperf server: what is no token, what is too old, what was used before.

use std::io::Read;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use super::logins::logged;
use crate::harness::login::{PASSWORD, Padding, USER, base64, claim, start_server, token};
use crate::harness::peer::client::{ClientPoint, HonestClient};
use crate::harness::peer::request::Request;
use crate::harness::peer::wire::{Wire, state};
use crate::harness::{Checked, alone, ensure, ours};

/// SERVER_ERROR, 142 (iperf3's IEAUTHTEST), no errno.
const REFUSAL: [u8; 9] = [state::SERVER_ERROR, 0, 0, 0, 142, 0, 0, 0, 0];
/// No refusal comes before.
const EARLIEST: Duration = Duration::from_secs(1);

/// Parameters with a member for the token, which has to be complete JSON with a comma behind it, or empty.
fn parameters(member: &str) -> String {
    format!(r#"{{"tcp":true,"omit":0,"time":1,"num":0,"parallel":1,{member}"len":131072}}"#)
}

fn with_token(token: &str) -> String {
    parameters(&format!(r#""authtoken":"{token}","#))
}

/// A client that has said these parameters and waits for the answer.
fn ask(port: u16, parameters: &str) -> Checked<HonestClient> {
    HonestClient::reach(port, parameters, ClientPoint::Asked)
}

/// The server lets this client in; it leaves again.
fn is_admitted(port: u16, parameters: &str) -> Checked {
    let mut client = ask(port, parameters)?;
    client.proceed(ClientPoint::Invited)?;
    client.leave()
}

/// The server answers exactly as it answers all whom it does not let in.
fn is_refused(port: u16, parameters: &str) -> Checked {
    let before = Instant::now();
    let mut client = ask(port, parameters)?;
    let mut answer = Vec::new();
    client.control.0.read_to_end(&mut answer)?;
    let elapsed = before.elapsed();
    ensure!(answer == REFUSAL, "answered {answer:?} to {parameters}");
    ensure!(elapsed >= EARLIEST, "answered after {elapsed:?} to {parameters}");
    Ok(())
}

#[test]
fn whatever_is_wrong_with_a_token_the_answer_is_the_same() -> Checked {
    let good = token(&claim(USER, PASSWORD, 0)?, Padding::Oaep, "public.pem")?;
    let sealed = |text: &str| Checked::Ok(with_token(&token(text, Padding::Oaep, "public.pem")?));
    let noise: Vec<u8> = (0..=255).collect();
    let cases = [
        (parameters(""), "no token"),
        (parameters(r#""authtoken":null,"#), "no token"),
        (parameters(r#""authtoken":5,"#), "no token"),
        (parameters(r#""authtoken":["x"],"#), "no token"),
        (with_token(""), "the token is not base64"),
        (with_token("%/\\u001b[2J"), "the token is not base64"),
        (with_token(&good[..good.len() - 4]), "the token is not base64"),
        (with_token(&"A".repeat(7000)), "the token is not base64"),
        (with_token(&base64(&[0; 256])?), "the token is for another key"),
        (with_token(&base64(&[255; 256])?), "the token is for another key"),
        (with_token(&base64(&noise)?), "the token is for another key"),
        (
            with_token(&token(&claim(USER, PASSWORD, 0)?, Padding::Pkcs1, "public.pem")?),
            "the token is for another key",
        ),
        (
            with_token(&token(&claim(USER, PASSWORD, 0)?, Padding::Oaep, "other-public.pem")?),
            "the token is for another key",
        ),
        (sealed("nonsense")?, "the token does not hold a user, a password and a time"),
        (sealed("user: mario\npwd:  rossi\nts:   now")?, "the token does not hold"),
        (sealed(&claim("\u{1b}[2J", "x", 0)?)?, r#"unknown user (user "\u{1b}[2J")"#),
        (sealed(&claim(USER, "verdi", 0)?)?, r#"wrong password (user "mario")"#),
        (sealed(&claim(USER, PASSWORD, -1000)?)?, "seconds old, more than --time-skew-threshold 10"),
        (sealed(&claim(USER, PASSWORD, 1000)?)?, "seconds ahead, more than --time-skew-threshold 10"),
    ];
    // A server that has refused ten looks at nothing more.
    for cases in cases.chunks(9) {
        let server = start_server(&ours(), "")?;
        for (parameters, reason) in cases {
            is_refused(server.port, parameters)?;
            logged(&server, reason)?;
        }
        ensure!(!server.process.so_far().contains('\u{1b}'), "a token speaks to the terminal");
        // The good one was not used up by all those that were made of it.
        let fresh = token(&claim(USER, PASSWORD, 0)?, Padding::Oaep, "public.pem")?;
        is_admitted(server.port, &with_token(&fresh))?;
    }
    Ok(())
}

/// It hears the same as before, at the same time, and others are served at once.
#[test]
fn who_guesses_on_is_not_heard_and_others_are() -> Checked {
    let server = start_server(&ours(), "")?;
    for _ in 0..10 {
        is_refused(server.port, &with_token("AAAA"))?;
    }
    let good = with_token(&token(&claim(USER, PASSWORD, 0)?, Padding::Oaep, "public.pem")?);
    is_refused(server.port, &good)?;
    logged(&server, "10 tokens from this address were refused within a minute; this one is not looked at")?;
    let before = Instant::now();
    let source = Some(Ipv4Addr::new(127, 0, 0, 2));
    HonestClient::invited(server.port, Request { source, ..Request::from(good.as_str()) })?;
    ensure!(before.elapsed() < EARLIEST, "another client was let in after {:?}", before.elapsed());
    Ok(())
}

#[test]
fn a_token_is_good_once() -> Checked {
    for (padding, option) in [(Padding::Oaep, ""), (Padding::Pkcs1, "--use-pkcs1-padding")] {
        let server = start_server(&ours(), option)?;
        let text = claim(USER, PASSWORD, 0)?;
        let (first, second) = (token(&text, padding, "public.pem")?, token(&text, padding, "public.pem")?);
        is_admitted(server.port, &with_token(&first))?;
        is_refused(server.port, &with_token(&first))?;
        logged(&server, r#"the token was used before (user "mario")"#)?;
        // Another client of the same user in the same second.
        is_admitted(server.port, &with_token(&second))?;
        is_refused(server.port, &with_token(&second))?;
    }
    Ok(())
}

#[test]
fn clocks_may_differ_by_the_threshold() -> Checked {
    for (seconds, is_good) in [(-990, true), (990, true), (-1010, false), (1010, false), (i64::MAX, false)] {
        let server = start_server(&ours(), "-1 --time-skew-threshold 1000")?;
        let token = token(&claim(USER, PASSWORD, seconds)?, Padding::Oaep, "public.pem")?;
        if is_good {
            is_admitted(server.port, &with_token(&token))?;
        } else {
            is_refused(server.port, &with_token(&token))?;
        }
    }
    Ok(())
}

/// A server that was started anew has forgotten which tokens it has taken. One that is started for each test
/// cannot tell, and would shut out every client whose clock is behind.
#[test]
fn a_token_from_before_the_start_is_no_longer_good() -> Checked {
    for (options, is_good) in [("", false), ("-1", true)] {
        let server = start_server(&ours(), options)?;
        let kept = with_token(&token(&claim(USER, PASSWORD, -5)?, Padding::Oaep, "public.pem")?);
        if is_good {
            is_admitted(server.port, &kept)?;
        } else {
            is_refused(server.port, &kept)?;
            logged(&server, "the token is from before this server began, by ")?;
            let fresh = token(&claim(USER, PASSWORD, 0)?, Padding::Oaep, "public.pem")?;
            is_admitted(server.port, &with_token(&fresh))?;
        }
    }
    Ok(())
}

/// Who hangs up and comes again gets no more guesses than who waits.
#[test]
fn impatient_guessing_is_no_faster() -> Checked {
    let server = start_server(&ours(), "")?;
    let before = Instant::now();
    drop(ask(server.port, &with_token("AAAA"))?);
    // As long as the server is not through with the guess it is busy.
    while !HonestClient::reach(server.port, "{}", ClientPoint::Accepted)?.is_admitted()? {}
    let elapsed = before.elapsed();
    ensure!(elapsed >= EARLIEST, "the next guess was possible after {elapsed:?}");
    Ok(())
}

/// From the outside it is not seen what was wrong: the answer is the same, at the same time.
#[test]
fn the_time_of_a_refusal_does_not_tell_why() -> Checked {
    /// Refusals of each kind at a time: a server waits for no more than 64 of all.
    const AT_A_TIME: usize = 8;
    /// Fewest and most rounds.
    const ROUNDS: Range<u8> = 4..60;
    /// What nobody can tell apart over a network.
    const MOST: Duration = Duration::from_millis(10);
    let _permit = alone();
    let server = start_server(&ours(), "--max-tests 64")?;
    let sealed = |text: &str, key: &str| Checked::Ok(with_token(&token(text, Padding::Oaep, key)?));
    let kinds = [
        ("no token", parameters("")),
        ("another key", sealed(&claim(USER, PASSWORD, 0)?, "other-public.pem")?),
        ("unknown user", sealed(&claim("nobody", PASSWORD, 0)?, "public.pem")?),
        ("wrong password", sealed(&claim(USER, "verdi", 0)?, "public.pem")?),
        ("too old", sealed(&claim(USER, PASSWORD, -1000)?, "public.pem")?),
        ("nonsense", sealed("nonsense", "public.pem")?),
    ];
    let mut times = vec![Vec::new(); kinds.len()];
    // To wait for a processor only ever takes longer, so on a loaded machine it takes more rounds until the
    // shortest times are those of the server. What it does itself stays, however many there are.
    for round in 0..ROUNDS.end {
        let found: Vec<(usize, Checked<Duration>)> = thread::scope(|scope| {
            let clients = (0..AT_A_TIME * kinds.len()).map(|number| {
                // Each kind is at each place of the row as often as the others, and each client has an
                // address of its own, since one that fails often is not looked at.
                let kind = (number + number / kinds.len() + usize::from(round)) % kinds.len();
                let host = u8::try_from(number).expect("less than 64") + 1;
                let address = Ipv4Addr::new(127, 40, round, host);
                let (parameters, port) = (&kinds[kind].1, server.port);
                (kind, scope.spawn(move || refusal_time(address, port, parameters)))
            });
            let clients: Vec<_> = clients.collect();
            clients.into_iter().map(|(kind, client)| (kind, client.join().expect("no panic"))).collect()
        });
        for (kind, took) in found {
            times[kind].push(took?);
        }
        if round + 1 >= ROUNDS.start && shortest_differ_by(&times) < MOST {
            break;
        }
    }
    for ((name, _), times) in kinds.iter().zip(&mut times) {
        times.sort_unstable();
        let median = times[times.len() / 2];
        println!(
            "I3: {name}: {} refusals, median {median:?}, {:?} to {:?}",
            times.len(),
            times[0],
            times[times.len() - 1]
        );
    }
    let difference = shortest_differ_by(&times);
    println!("I3: the shortest times differ by {difference:?} at most");
    ensure!(difference < MOST, "the shortest times differ by {difference:?}");
    Ok(())
}

/// How far the shortest times of all kinds are apart.
fn shortest_differ_by(times: &[Vec<Duration>]) -> Duration {
    let shortest = || times.iter().filter_map(|times| times.iter().min());
    let (least, most) = (shortest().min(), shortest().max());
    most.zip(least).map(|(most, least)| *most - *least).unwrap_or_default()
}

/// How long a client from this address waits for its refusal.
fn refusal_time(address: Ipv4Addr, port: u16, parameters: &str) -> Checked<Duration> {
    let mut wire = Wire::connect_from(address, port)?;
    // A cookie of its own, or it would be taken for a stream of another test.
    wire.send(format!("{:036x}\0", u32::from(address)).as_bytes())?;
    wire.expect_state(state::PARAM_EXCHANGE)?;
    let asked = Instant::now();
    wire.send_frame(parameters)?;
    let answer: [u8; 9] = wire.read()?;
    let took = asked.elapsed();
    ensure!(answer == REFUSAL, "answered {answer:?}");
    Ok(took)
}
