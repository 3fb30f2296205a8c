use std::{collections::BTreeMap, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use replay::{Digest, Error, ErrorKind, Result, SagaId, SnapshotRecord, Store, json, storage::At};
use serde::Deserialize;
use serde_json::json;

use super::input;
use crate::{app::App, args::ImportArgs, exit::Exit, output::Answer};

/// How many records are appended at once.
const CHUNK: usize = 200;

/// One line of an export, as far as an import needs it.
#[derive(Deserialize)]
#[serde(tag = "schema")]
enum Line {
    #[serde(rename = "replay.export.blob/v1")]
    Blob { digest: Digest, bytes: String },
    #[serde(rename = "replay.export.snapshot/v1")]
    Snapshot { snapshot: Readable, record: String },
}

#[derive(Deserialize)]
struct Readable {
    digest: Digest,
}

/// Everything that a file holds, checked.
#[derive(Default)]
struct Content {
    blobs: Vec<(Digest, Bytes)>,
    histories: BTreeMap<SagaId, Vec<SnapshotRecord>>,
}

pub(super) async fn run(app: &App, args: ImportArgs) -> Result<Exit> {
    let bytes = if args.file == Path::new("-") { input::stdin()? } else { input::file(&args.file)? };
    let content = read(&bytes, &args.file.display().to_string())?;
    if content.histories.is_empty() {
        return Err(Error::invalid("import", "the file holds no snapshot").hint("import what `export` wrote"));
    }
    let store = app.store_or_new().await?;
    for (id, records) in &content.histories {
        check_target(&store, id, records).await?;
    }
    // What a history refers to may become a definition, whose commands then run, so none of it is taken over without trust.
    if args.trust_definition {
        for (digest, bytes) in content.blobs {
            let stored = store.blobs()?.put_blob(bytes).await?;
            debug_assert_eq!(stored, digest, "read() checked it");
        }
    } else if !content.blobs.is_empty() {
        app.output.note("without the definitions: give resume and run a --file, or import with --trust-definition");
    }
    let ids: Vec<SagaId> = content.histories.keys().cloned().collect();
    let mut count = 0;
    for records in content.histories.into_values() {
        count += records.len();
        for chunk in records.chunks(CHUNK) {
            store.snapshots().append(chunk.to_vec()).await?;
        }
    }
    let answer = Answer::one("imported", &json!({"sagas": ids, "snapshots": count}))?.ids(&ids);
    app.output.answer(answer.shown(move |paint| format!("{} imported {count} snapshots of {} sagas", paint.good("✔"), ids.len())))?;
    Ok(Exit::Ok)
}

fn read(bytes: &[u8], name: &str) -> Result<Content> {
    let mut content = Content::default();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = |error: Error| error.with("file", name).with("line", number);
        let line: Line = json::parse_as(line)
            .map_err(|error| place(Error::invalid("import", format!("{name}:{number} is no line of an export")).caused_by(error)))?;
        take(&mut content, line).map_err(place)?;
    }
    Ok(content)
}

fn take(content: &mut Content, line: Line) -> Result<()> {
    let wrong = |message: &str| Error::new(ErrorKind::Integrity, "import").message(message);
    let decode = |text: &str| BASE64_STANDARD.decode(text).map(Bytes::from).map_err(|error| wrong("a line is not base64").caused_by(error));
    match line {
        Line::Blob { digest, bytes } => {
            let bytes = decode(&bytes)?;
            if Digest::of(&bytes) != digest {
                return Err(wrong("a blob is not what was exported").with("digest", digest));
            }
            content.blobs.push((digest, bytes));
        }
        Line::Snapshot { snapshot, record } => {
            let record = SnapshotRecord::from_bytes(&decode(&record)?)?;
            record.clone().decode()?;
            if record.digest() != snapshot.digest {
                return Err(wrong("a record is not what its line says").with("snapshot", record.id()));
            }
            let history = content.histories.entry(record.saga_id.clone()).or_default();
            if let Some(last) = history.last()
                && (record.sequence != last.sequence + 1 || record.prev_digest != last.digest())
            {
                return Err(wrong("a snapshot does not follow the one before it").with("snapshot", record.id()));
            }
            history.push(record);
        }
    }
    Ok(())
}

/// Refuses a history that the store has otherwise.
async fn check_target(store: &Store, id: &SagaId, records: &[SnapshotRecord]) -> Result<()> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
    let conflict = |message: &str| Error::new(ErrorKind::Conflict, "import").message(message).with("saga", id);
    let Some(head) = store.snapshots().load(id, At::Latest).await? else {
        if first.sequence > 1 {
            return Err(conflict("the beginning of its history was pruned before the export, so it cannot be told apart from a forgery")
                .hint("import it into the store that has its beginning")
                .with("first", first.sequence));
        }
        return Ok(());
    };
    let shared = head.sequence.min(last.sequence);
    let here = store.snapshots().load(id, At::Sequence(shared)).await?;
    let there = records.iter().find(|record| record.sequence == shared);
    match (here, there) {
        (Some(here), Some(there)) if here.digest() == there.digest() => Ok(()),
        (Some(_), Some(_)) => Err(conflict("the store has another history of this saga; nothing was imported").with("sequence", shared)),
        _ => Err(conflict("the store's history of this saga and the file's do not meet; nothing was imported").with("sequence", shared)),
    }
}
