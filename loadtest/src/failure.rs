//! Why a run ends without a result.

use std::error::Error;

/// What the person who started the run is told.
pub type Failure = Box<dyn Error + Send + Sync>;
