//! Log output: one JSON object a line with the fields of contract section 8, or lines for people on a terminal.

use std::fmt;
use std::io::IsTerminal as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt as pretty};
use wa_core::ports::Env as _;

use crate::config::{LogFormat, TelemetryConfig};
use crate::env::SystemEnv;

/// What is called `service` in every line.
const SERVICE: &str = "wa-server";

/// Starts writing the log to stderr. For the process as a whole, so only a program's `main` calls it.
///
/// # Errors
/// If the level cannot be understood or something else writes the log already.
pub fn start_logging(config: &TelemetryConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_level)?;
    let is_pretty = match config.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    let registry = tracing_subscriber::registry().with(filter);
    if is_pretty {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        registry.with(pretty::layer().with_writer(std::io::stderr).with_ansi(colours).compact().with_target(false)).try_init()?;
    } else {
        registry.with(JsonLines::new(std::io::stderr)).try_init()?;
    }
    Ok(())
}

/// Writes every event as one JSON object: time, level, service, message, then the fields of the event and of the spans
/// around it (`request_id`, `user_id`), all on one level so that log stores index them without rules of their own.
pub struct JsonLines<W> {
    writer: W,
}

impl<W> JsonLines<W> {
    /// Writes here.
    pub const fn new(writer: W) -> Self {
        Self { writer }
    }
}

/// Fields of a span, kept with it.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.0.extend(fields.0.clone());
            }
        }
        event.record(&mut line);
        let metadata = event.metadata();
        for (name, value) in [
            ("timestamp", SystemEnv.now().to_string()),
            ("level", metadata.level().as_str().to_ascii_lowercase()),
            ("service", SERVICE.to_owned()),
            ("target", metadata.target().to_owned()),
        ] {
            line.0.insert(name.to_owned(), Value::from(value));
        }
        let mut text = Value::Object(line.0).to_string();
        text.push('\n');
        // There is no other place to tell that the log cannot be written.
        let _ = std::io::Write::write_all(&mut self.writer.make_writer_for(metadata), text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_carries_its_own_fields_and_those_of_the_spans_around_it() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry().with(JsonLines::new(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("request", request_id = "r1", user_id = tracing::field::Empty);
            span.record("user_id", "u1");
            span.in_scope(|| tracing::warn!(status = 503_u64, "no \"luck\"\n"));
        });
        let text = String::from_utf8(lines.0.lock().expect("not poisoned").clone()).expect("text");
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).expect("JSON");
        for (name, value) in [("service", "wa-server"), ("level", "warn"), ("request_id", "r1"), ("user_id", "u1"), ("message", "no \"luck\"\n")] {
            assert_eq!(line[name], value, "{name}");
        }
        assert_eq!(line["status"], 503);
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    }
}
