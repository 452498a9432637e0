//! What the bucket says of the cluster: `cluster.json` ties it to one database, `lanes/{session}` notes how far a
//! session had committed, so that a database restored from an older backup is noticed before it is written to.

use metadata::{ClusterInfo, MetadataStore};
use opendal::{ErrorKind, Operator};
use segment::SessionId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::broker::StartError;

const CLUSTER_OBJECT: &str = "cluster.json";
const LANES: &str = "lanes/";
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct ClusterMarker {
    cluster_id: Uuid,
    version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct LaneNote {
    session: i64,
    lane_sequence: i64,
    version: u32,
}

/// Refuses a bucket of another cluster; marks one that has no mark yet.
pub(crate) async fn check_cluster(store: &Operator, cluster: &ClusterInfo) -> Result<(), StartError> {
    let ours = ClusterMarker { cluster_id: cluster.cluster_id, version: VERSION };
    let found = match read_marker(store).await? {
        Some(found) => found,
        None => {
            refuse_unmarked_data(store).await?;
            let body = serde_json::to_vec(&ours).map_err(|error| StartError::Store(error.to_string()))?;
            match store.write_with(CLUSTER_OBJECT, body).if_not_exists(true).await {
                Ok(_) => return Ok(()),
                // Another agent was first, or our own write landed and lost its reply: read what is there.
                Err(error) if error.kind() == ErrorKind::ConditionNotMatch => read_marker(store).await?.unwrap_or(ours),
                Err(error) => return Err(StartError::Store(format!("{CLUSTER_OBJECT}: {error}"))),
            }
        }
    };
    if found.version > VERSION {
        return Err(StartError::WrongDatabase(format!(
            "the object store is of version {}, this agent knows {VERSION}",
            found.version
        )));
    }
    if found.cluster_id != cluster.cluster_id {
        let why = if cluster.empty {
            "an empty metadata database meets an object store with data"
        } else {
            "they do not belong together"
        };
        return Err(StartError::WrongDatabase(format!(
            "the object store is of cluster {}, the metadata database of cluster {}: {why}; refusing to start",
            found.cluster_id, cluster.cluster_id
        )));
    }
    Ok(())
}

async fn read_marker(store: &Operator) -> Result<Option<ClusterMarker>, StartError> {
    match store.read(CLUSTER_OBJECT).await {
        Ok(body) => serde_json::from_slice(&body.to_bytes()).map(Some).map_err(|error| {
            StartError::WrongDatabase(format!("{CLUSTER_OBJECT} in the object store is damaged: {error}"))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StartError::Store(format!("{CLUSTER_OBJECT}: {error}"))),
    }
}

async fn refuse_unmarked_data(store: &Operator) -> Result<(), StartError> {
    let notes = store.list(LANES).await.map_err(|error| StartError::Store(error.to_string()))?;
    if notes.iter().any(|entry| entry.metadata().is_file()) {
        return Err(StartError::WrongDatabase(format!(
            "the object store holds data but no {CLUSTER_OBJECT}; refusing to start"
        )));
    }
    Ok(())
}

/// Refuses a database that lacks a commit the bucket knows of. Returns the notes of sessions that are over: once this one
/// has its own note, which a database as old as they guard against lacks too, they are not needed.
pub(crate) async fn check_progress(store: &Operator, metadata: &dyn MetadataStore) -> Result<Vec<String>, StartError> {
    let notes = store.list(LANES).await.map_err(|error| StartError::Store(error.to_string()))?;
    let mut noted = Vec::new();
    for entry in notes.iter().filter(|entry| entry.metadata().is_file()) {
        let body = match store.read(entry.path()).await {
            Ok(body) => body,
            // Another agent tidied up.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(StartError::Store(error.to_string())),
        };
        let note: LaneNote = serde_json::from_slice(&body.to_bytes())
            .map_err(|error| StartError::WrongDatabase(format!("{} is damaged: {error}", entry.path())))?;
        noted.push((note, entry.path().to_owned()));
    }
    // Read after the notes: what they say was committed by then.
    let committed = metadata.last_segments().await?;
    for (note, _) in &noted {
        let known = committed.iter().find(|last| last.session.0 == note.session).map_or(-1, |last| last.lane_sequence);
        if known < note.lane_sequence {
            return Err(StartError::WrongDatabase(format!(
                "the metadata database is older than the object store: session {} had committed segment {}, the database knows {known}; was it restored from a backup? refusing to start",
                note.session, note.lane_sequence
            )));
        }
    }
    let agents = metadata.list_agents().await?;
    let is_over = |note: &LaneNote| agents.iter().all(|agent| agent.session.0 != note.session);
    Ok(noted.into_iter().filter(|(note, _)| is_over(note)).map(|(_, path)| path).collect())
}

/// Notes how far this session has committed.
pub(crate) async fn note_progress(
    store: &Operator,
    session: SessionId,
    lane_sequence: i64,
) -> Result<(), opendal::Error> {
    let note = LaneNote { session: session.0, lane_sequence, version: VERSION };
    let body =
        serde_json::to_vec(&note).map_err(|error| opendal::Error::new(ErrorKind::Unexpected, error.to_string()))?;
    store.write(&format!("{LANES}{}", session.0), body).await.map(|_| ())
}

/// Whether the object store answers.
pub(crate) async fn probe(store: &Operator) -> Result<(), opendal::Error> {
    store.stat(CLUSTER_OBJECT).await.map(|_| ())
}
