//! A trace short enough for a mail: `two-holes:1AbC...`, one word.
//!
//! A token says which scenario, by its name and a checksum of its text, which design, and who goes when. The scenario
//! itself is not inside: whoever replays a token has it, because it is in the corpus or came along in a file, and a
//! scenario whose text has changed is refused. After the name and a colon stand the version, one digit, and in base64url
//!
//! ```text
//! design      2 bytes   CRC-16 of its name
//! flags       1 byte    bits 0..=3: timers, retries, events, failures are given; the others: how many plants
//! limits      varints   those that are given
//! plants      2 bytes   each, CRC-16 of the name; those of the scenario are not repeated
//! text        4 bytes   CRC-32 of the scenario's text
//! event hash  4 bytes   its low half
//! schedule    packed    actors (interleave::pack)
//! values      packed    what other choices came to; left out when there are none
//! check       3 bytes   CRC-24 over the name and all of the above
//! ```
//!
//! Numbers are little endian. Names go by their checksum so that a design or plant that is added changes no token.

use crate::lang::{Design, Explore, Scenario};
use crate::run::{TraceHeader, limits};
use crate::world::ScenarioProgram;
use crc::{CRC_16_IBM_SDLC, CRC_24_OPENPGP, CRC_32_ISO_HDLC, Crc};
use data_encoding::BASE64URL_NOPAD;
use integer_encoding::VarInt;
use interleave::pack::{pack, unpack, varint};
use interleave::trace::TraceFile;
use interleave::{Schedule, Timeline};
use model::platform::Plant;
use std::fmt;

/// The version this code writes and reads.
const VERSION: char = '1';

/// A token's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Name of the scenario.
    pub scenario: String,
    /// Checksum of the design's name.
    design: u16,
    /// Checksums of the names of the plants that the scenario does not have itself.
    plants: Vec<u16>,
    /// What the user said instead of the scenario; only the limits.
    explore: Explore,
    /// Checksum of the scenario's text.
    text: u32,
    /// The low half of the event hash.
    event_hash: u32,
    /// Who goes, event by event, and what other choices came to.
    pub schedule: Schedule,
}

/// Why a token cannot be replayed; one line each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// Of another version; the digit or whatever stands there.
    Version(String),
    /// A character was changed, lost or added.
    Damaged,
    /// The scenario that came along has another name.
    OtherScenario {
        /// Of the token.
        token: String,
        /// What came along.
        given: String,
    },
    /// The scenario's text is not the one the token was made from.
    Changed(String),
    /// No design or plant has the name; which of the two it is.
    Unknown(&'static str),
    /// The run is not the recorded one.
    Differs(String),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Version(found) => {
                write!(f, "the token is of version `{found}`, this svmlab reads version {VERSION}")
            }
            TokenError::Damaged => f.write_str("the token is damaged: something in it was changed, lost or added"),
            TokenError::OtherScenario { token, given } => {
                write!(f, "the token is about scenario `{token}`, the file holds `{given}`")
            }
            TokenError::Changed(scenario) => {
                write!(f, "the text of scenario `{scenario}` is not the one that the token was made from")
            }
            TokenError::Unknown(what) => write!(f, "the token names a {what} that this svmlab does not have"),
            TokenError::Differs(how) => f.write_str(how),
        }
    }
}
impl std::error::Error for TokenError {}

/// What a token replays to.
pub struct Replayed {
    /// The design.
    pub design: Design,
    /// The bugs switched on, those of the scenario included.
    pub plants: Vec<Plant>,
    /// The execution.
    pub timeline: Timeline,
}

fn tag(name: &str) -> u16 {
    Crc::<u16>::new(&CRC_16_IBM_SDLC).checksum(name.as_bytes())
}

/// Of a scenario's text. How its lines end is not part of it.
fn text_sum(text: &str) -> u32 {
    Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(text.replace("\r\n", "\n").as_bytes())
}

fn check_sum(name: &str, payload: &[u8]) -> [u8; 3] {
    let crc = Crc::<u32>::new(&CRC_24_OPENPGP);
    let mut digest = crc.digest();
    digest.update(name.as_bytes());
    digest.update(b":");
    digest.update(payload);
    let [a, b, c, _] = digest.finalize().to_le_bytes();
    [a, b, c]
}

/// Whether an argument is meant as a token: `name:...`, which is no path.
pub fn looks_like_token(text: &str) -> bool {
    let name = text.split(':').next().unwrap_or("").trim_start();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    text.contains(':') && is_name
}

impl Token {
    /// The token of `trace`, which was made from `scenario`.
    pub fn new(scenario: &Scenario, header: &TraceHeader, trace: &TraceFile) -> Token {
        let own = &scenario.explore;
        let own_events = own.events.unwrap_or(crate::run::EVENTS_PER_EXECUTION);
        let mut plants: Vec<&str> = header.plants.iter().map(String::as_str).collect();
        for plant in &scenario.plants {
            if let Some(at) = plants.iter().position(|name| *name == plant.name()) {
                plants.remove(at);
            }
        }
        Token {
            scenario: scenario.name.clone(),
            design: tag(&header.design),
            plants: plants.into_iter().map(tag).collect(),
            explore: Explore {
                timers: header.timers.filter(|_| header.timers != own.timers),
                retries: header.retries.filter(|_| header.retries != own.retries),
                failures: header.failures.filter(|_| header.failures != own.failures),
                events: Some(header.events).filter(|events| *events != own_events),
                ..Explore::default()
            },
            text: text_sum(&header.text),
            event_hash: trace.event_hash as u32,
            schedule: trace.schedule.clone(),
        }
    }

    /// The token as one word.
    pub fn to_text(&self) -> String {
        let mut bytes = self.design.to_le_bytes().to_vec();
        let Explore { timers, retries, events, failures, .. } = self.explore;
        let limits = [timers, retries, events, failures];
        let given = limits.iter().enumerate().fold(0, |flags, (bit, limit)| flags | u8::from(limit.is_some()) << bit);
        // four bits are more than anybody switches on at once
        bytes.push(given | (self.plants.len() as u8) << 4);
        for limit in limits.into_iter().flatten() {
            bytes.extend(limit.encode_var_vec());
        }
        bytes.extend(self.plants.iter().flat_map(|plant| plant.to_le_bytes()));
        bytes.extend(self.text.to_le_bytes());
        bytes.extend(self.event_hash.to_le_bytes());
        let numbers = |list: &[u8]| -> Vec<u32> { list.iter().copied().map(u32::from).collect() };
        bytes.extend(pack(&numbers(&self.schedule.choices)));
        if !self.schedule.values.is_empty() {
            bytes.extend(pack(&numbers(&self.schedule.values)));
        }
        bytes.extend(check_sum(&self.scenario, &bytes));
        format!("{}:{VERSION}{}", self.scenario, BASE64URL_NOPAD.encode(&bytes))
    }

    /// Reads a token. White space is what a mail put in, and is passed over.
    ///
    /// # Errors
    /// Another version, or anything that is not as it was written.
    pub fn parse(text: &str) -> Result<Token, TokenError> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (name, rest) = text.split_once(':').ok_or(TokenError::Damaged)?;
        let payload = match rest.strip_prefix(VERSION) {
            Some(payload) => payload,
            None => return Err(TokenError::Version(rest.chars().take(1).collect())),
        };
        let bytes = BASE64URL_NOPAD.decode(payload.as_bytes()).map_err(|_| TokenError::Damaged)?;
        let (mut body, sum) = bytes.split_last_chunk::<3>().ok_or(TokenError::Damaged)?;
        if check_sum(name, body) != *sum {
            return Err(TokenError::Damaged);
        }
        Token::read(name, &mut body).filter(|_| body.is_empty()).ok_or(TokenError::Damaged)
    }

    fn read(name: &str, body: &mut &[u8]) -> Option<Token> {
        fn take<const N: usize>(body: &mut &[u8]) -> Option<[u8; N]> {
            let (first, rest) = body.split_first_chunk::<N>()?;
            *body = rest;
            Some(*first)
        }
        let design = u16::from_le_bytes(take(body)?);
        let [flags] = take(body)?;
        let mut limits = [None; 4];
        for (_, limit) in limits.iter_mut().enumerate().filter(|(bit, _)| flags & 1 << bit != 0) {
            *limit = Some(u32::try_from(varint(body)?).ok()?);
        }
        let [timers, retries, events, failures] = limits;
        let plants = (0..flags >> 4).map(|_| Some(u16::from_le_bytes(take(body)?))).collect::<Option<Vec<u16>>>()?;
        let text = u32::from_le_bytes(take(body)?);
        let event_hash = u32::from_le_bytes(take(body)?);
        let small = |list: Vec<u32>| list.into_iter().map(|n| u8::try_from(n).ok()).collect::<Option<Vec<u8>>>();
        let choices = small(unpack(body)?)?;
        let values = if body.is_empty() { Vec::new() } else { small(unpack(body)?)? };
        Some(Token {
            scenario: name.to_owned(),
            design,
            plants,
            explore: Explore { timers, retries, events, failures, ..Explore::default() },
            text,
            event_hash,
            schedule: Schedule { choices, values },
        })
    }

    /// Runs the execution on `scenario`, and checks that it is the same.
    ///
    /// # Errors
    /// Another scenario or a changed one, a design or plant that is not known, or an execution that differs from the
    /// recorded one.
    pub fn replay(&self, scenario: &Scenario) -> Result<Replayed, TokenError> {
        if scenario.name != self.scenario {
            let (token, given) = (self.scenario.clone(), scenario.name.clone());
            return Err(TokenError::OtherScenario { token, given });
        }
        if text_sum(&scenario.source.text) != self.text {
            return Err(TokenError::Changed(self.scenario.clone()));
        }
        let design = Design::ALL.iter().copied().find(|d| tag(d.name()) == self.design);
        let design = design.ok_or(TokenError::Unknown("design"))?;
        let mut plants = scenario.plants.clone();
        for wanted in &self.plants {
            let plant = Plant::ALL.iter().copied().find(|p| tag(p.name()) == *wanted);
            plants.push(plant.ok_or(TokenError::Unknown("planted bug"))?);
        }
        let explore = Explore {
            timers: self.explore.timers.or(scenario.explore.timers),
            retries: self.explore.retries.or(scenario.explore.retries),
            failures: self.explore.failures.or(scenario.explore.failures),
            events: self.explore.events.or(scenario.explore.events),
            ..Explore::default()
        };
        let program = ScenarioProgram::new(scenario, design);
        let timeline = interleave::replay(&program, &limits(&explore, &plants), &self.schedule)
            .map_err(|why| TokenError::Differs(why.to_string()))?;
        if timeline.event_hash as u32 != self.event_hash {
            let (found, recorded) = (timeline.event_hash as u32, self.event_hash);
            let what = format!(
                "the execution differs from the recorded one: event hash ...{found:08x}, recorded ...{recorded:08x}"
            );
            return Err(TokenError::Differs(what));
        }
        Ok(Replayed { design, plants, timeline })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedules() -> impl Strategy<Value = Schedule> {
        prop::collection::vec((0..24_u8, 1..300_usize), 0..12).prop_map(|runs| Schedule {
            values: Vec::new(),
            choices: runs.into_iter().flat_map(|(actor, n)| std::iter::repeat_n(actor, n)).collect(),
        })
    }

    prop_compose! {
        fn tokens()(
            scenario in "[a-z][a-z0-9-]{0,25}",
            design: u16,
            plants in prop::collection::vec(any::<u16>(), 0..4),
            timers: Option<u32>,
            retries: Option<u32>,
            failures: Option<u32>,
            events: Option<u32>,
            text: u32,
            event_hash: u32,
            schedule in schedules(),
            values in prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(0..3_u8, 0..40)],
        ) -> Token {
            let explore = Explore { timers, retries, events, failures, ..Explore::default() };
            let schedule = Schedule { values, ..schedule };
            Token { scenario, design, plants, explore, text, event_hash, schedule }
        }
    }

    proptest! {
        #[test]
        fn a_token_survives_being_written_and_a_mail_that_breaks_its_line(token in tokens(), at in any::<prop::sample::Index>()) {
            let text = token.to_text();
            prop_assert!(looks_like_token(&text));
            prop_assert_eq!(Token::parse(&text), Ok(token.clone()));
            let at = at.index(text.len());
            prop_assert_eq!(Token::parse(&format!("{}\n  {}", &text[..at], &text[at..])), Ok(token));
        }

        #[test]
        fn a_changed_character_is_refused(
            token in tokens(), at in any::<prop::sample::Index>(), other in "[A-Za-z0-9_:-]",
        ) {
            let text = token.to_text();
            let at = at.index(text.len());
            prop_assume!(text[at..=at] != other);
            let changed = [&text[..at], &other, &text[at + 1..]].concat();
            prop_assert!(Token::parse(&changed).is_err(), "{} {}", text, changed);
        }

        #[test]
        fn a_lost_character_is_refused(token in tokens(), at in any::<prop::sample::Index>()) {
            let text = token.to_text();
            let at = at.index(text.len());
            let shorter = [&text[..at], &text[at + 1..]].concat();
            prop_assert!(Token::parse(&shorter).is_err());
        }

        #[test]
        fn whatever_is_no_token_is_refused_without_panic(text in "\\PC{0,80}") {
            prop_assert!(Token::parse(&text).is_err());
            let with_name = ["a:1", &text].concat();
            prop_assert!(Token::parse(&with_name).is_err());
        }
    }

    #[test]
    fn every_character_of_a_token_matters() {
        let token = Token {
            scenario: "two-holes".into(),
            design: tag("poc-v1"),
            plants: Vec::new(),
            explore: Explore::default(),
            text: 0x1234_5678,
            event_hash: 0x9abc_def0,
            schedule: Schedule { choices: [vec![0; 62], vec![2; 99], vec![3; 12]].concat(), values: Vec::new() },
        };
        let text = token.to_text();
        for at in 0..text.len() {
            for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_:".chars() {
                if text[at..].starts_with(other) {
                    continue;
                }
                let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                assert!(Token::parse(&changed).is_err(), "{changed}");
            }
        }
    }

    #[test]
    fn no_two_designs_and_no_two_plants_have_one_tag() {
        let mut designs: Vec<u16> = Design::ALL.iter().map(|d| tag(d.name())).collect();
        let mut plants: Vec<u16> = Plant::ALL.iter().map(|p| tag(p.name())).collect();
        for (tags, all) in [(&mut designs, Design::ALL.len()), (&mut plants, Plant::ALL.len())] {
            tags.sort_unstable();
            tags.dedup();
            assert_eq!(tags.len(), all);
        }
    }

    #[test]
    fn a_token_of_another_svmlab_is_not_replayed_as_if_it_were_of_this_one() {
        use crate::run::{CheckOptions, CheckVerdict, check_scenario};
        let corpus = crate::cli::load_corpus().expect("the corpus parses");
        let scenario = corpus.iter().find(|s| s.name == "two-set-attrs").expect("in the corpus");
        let result = check_scenario(scenario, Design::PocV1, &CheckOptions::default(), &Default::default(), None);
        let CheckVerdict::Violated(found) = result.verdict else { panic!("something falls") };
        let token = found.token;
        assert!(token.replay(scenario).is_ok());
        let refused = |token: Token| token.replay(scenario).err().map(|why| why.to_string());
        // the driver has changed and does the same in another way
        let differs = refused(Token { event_hash: token.event_hash ^ 1, ..token.clone() });
        assert!(differs.is_some_and(|why| why.starts_with("the execution differs from the recorded one")));
        let design = refused(Token { design: !token.design, ..token.clone() });
        assert_eq!(design.as_deref(), Some("the token names a design that this svmlab does not have"));
        let plant = refused(Token { plants: vec![1], ..token.clone() });
        assert_eq!(plant.as_deref(), Some("the token names a planted bug that this svmlab does not have"));
        let text = refused(Token { text: !token.text, ..token });
        assert!(text.is_some_and(|why| why.starts_with("the text of scenario")));
    }
}
