//! The verdict as it stands in a document, an object for each direction. No report has it.

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::cause::{Cause, Confidence, End, Evidence, RuledOut};
use super::evidence::DirectionName;

/// What has limited one direction of a run, and why that is believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The direction.
    pub direction: DirectionName,
    /// What has limited it.
    pub cause: Cause,
    /// Where that is.
    pub end: End,
    /// How sure that is.
    pub confidence: Confidence,
    /// Where the time of the direction went.
    pub budget: Budget,
    /// What the verdict rests on. An item with a threshold was compared with it and is beyond it; the others
    /// stand beside it as findings.
    pub evidence: Vec<Evidence>,
    /// Causes that the evidence speaks against.
    pub ruled_out: Vec<RuledOut>,
    /// What to do about it: commands and options.
    #[serde(rename = "try")]
    pub tries: Vec<String>,
    /// What else one has to know of this verdict; sentences without a full stop.
    #[serde(default)]
    pub notes: Vec<String>,
}
