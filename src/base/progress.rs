//! What long work tells about itself. The engine emits; bars, plain lines and JSON lines print.

use serde::Serialize;

/// One thing that happened. Printers decide what to show, and how often.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A phase begins. Totals are given when they are known.
    PhaseStarted {
        /// Short name: `backup`, `verify disk`.
        phase: String,
        /// Items to do.
        items_total: Option<u64>,
        /// Bytes to do.
        bytes_total: Option<u64>,
    },
    /// How much the phase has to do has become known.
    TotalsKnown {
        /// Items to do.
        items_total: u64,
        /// Bytes to do.
        bytes_total: u64,
    },
    /// So many of the bytes to do are expected to be quick work.
    QuickExpected {
        /// Bytes that no compression will be spent on.
        bytes_total: u64,
    },
    /// So many of the bytes done turned out to be quick work.
    Quick {
        /// Bytes since the last `Quick` of this phase.
        bytes: u64,
    },
    /// Work done since the last `Advanced` of this phase.
    Advanced {
        /// Items done since.
        items: u64,
        /// Bytes done since.
        bytes: u64,
    },
    /// The phase is over.
    PhaseFinished {
        /// The name given at its start.
        phase: String,
    },
    /// Something a person should know; the work goes on.
    Warning {
        /// One sentence, with hostile characters still in it: printers escape.
        message: String,
    },
    /// Something a person may want to know.
    Note {
        /// One sentence.
        message: String,
    },
    /// What a service did, for its log.
    Logged {
        /// One sentence.
        message: String,
        /// The same for machines: names and values.
        about: Vec<(&'static str, serde_json::Value)>,
    },
}

/// Listens to events. Called from many threads; must not block for long.
pub trait Progress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);

    /// A phase begins.
    fn phase(&self, phase: &str, items_total: Option<u64>, bytes_total: Option<u64>) {
        self.event(Event::PhaseStarted { phase: phase.to_owned(), items_total, bytes_total });
    }

    /// Whether it is worth some work to know how much there is to do.
    fn wants_totals(&self) -> bool {
        false
    }

    /// How much the phase has to do has become known.
    fn totals(&self, items_total: u64, bytes_total: u64) {
        self.event(Event::TotalsKnown { items_total, bytes_total });
    }

    /// So many of the bytes to do are expected to be quick work.
    fn quick_expected(&self, bytes_total: u64) {
        self.event(Event::QuickExpected { bytes_total });
    }

    /// So many of the bytes done turned out to be quick work.
    fn quick(&self, bytes: u64) {
        self.event(Event::Quick { bytes });
    }

    /// Items and bytes done since the last call.
    fn advance(&self, items: u64, bytes: u64) {
        self.event(Event::Advanced { items, bytes });
    }

    /// A phase is over.
    fn phase_finished(&self, phase: &str) {
        self.event(Event::PhaseFinished { phase: phase.to_owned() });
    }

    /// Something a person should know.
    fn warn(&self, message: String) {
        self.event(Event::Warning { message });
    }

    /// Something a person may want to know.
    fn note(&self, message: String) {
        self.event(Event::Note { message });
    }

    /// What a service did.
    fn log(&self, message: String, about: Vec<(&'static str, serde_json::Value)>) {
        self.event(Event::Logged { message, about });
    }
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _event: Event) {}
}
