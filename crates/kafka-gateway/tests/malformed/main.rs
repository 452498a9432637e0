//! Bytes that no honest client sends: each row gets its exact code or a close, nobody else notices, it costs at most 1 MiB,
//! and the log says once why a connection was closed. A process of its own, so that its memory and its log are the rows'.

#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths in tests are small")]
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod batches;
mod fields;
mod frames;
#[path = "../wire/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the wire")]
mod harness;
mod log;
mod requests;

use bytes::Bytes;
use kafka_protocol::messages::ProduceRequest;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use uuid::Uuid;

use harness::{Client, SOON, Server, batch, decode, frame, produce};

/// What a row may cost, as memory that was touched.
const ROW_BYTES_MAX: usize = 1 << 20;

/// Measures the peak of resident memory from here on.
struct Peak(usize);

impl Peak {
    fn begin() -> Self {
        // 5 sets the peak back to what is resident now (proc_pid_clear_refs(5)).
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        Self(peak_bytes())
    }

    fn grown(&self) -> usize {
        peak_bytes().saturating_sub(self.0)
    }
}

fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// What the rows did that they should not have done; all of it is shown at the end.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }

    /// What holds after every row.
    async fn after(&mut self, row: &str, honest: &mut Client, grown: Option<usize>) {
        self.expect(honest.works().await, || format!("{row}: an honest client is not served"));
        self.expect(grown.is_none_or(|grown| grown <= ROW_BYTES_MAX), || format!("{row}: {grown:?} bytes"));
    }
}

/// Two passes over all rows: the first warms up what a process needs once, the second is measured.
#[tokio::test]
async fn every_row_gets_its_code_or_a_close_and_costs_little() {
    let log = log::Log::install();
    let (server, mut honest, id) = Server::with_topic("t").await;
    honest.call(13, &produce("", id, &[(0, Some(batch(&["a", "b", "c"])))])).await;
    until_coordinated(&mut honest).await;
    let (mut findings, mut counted) = (Findings::default(), 0);
    for measured in [false, true] {
        let mut closed: Vec<(String, Bytes)> =
            frames::closed().into_iter().chain(frames::counts()).map(|(row, bytes)| (row.to_owned(), bytes)).collect();
        closed.extend(frames::versions(&mut honest).await);
        for (row, bytes) in &closed {
            let (peak, said) = (Peak::begin(), log.said());
            let end = end_of(&server, bytes).await;
            findings.expect(end == "closed", || format!("{row}: {end}"));
            let said = log.said() - said;
            findings.expect(said == 1, || format!("{row}: {said} lines of the log, the last {:?}", log.last()));
            findings.after(row, &mut honest, measured.then(|| peak.grown())).await;
        }
        let mut client = server.connect();
        let (rows, batches, said) = (fields::rows(id), batches::rows(), log.said());
        for row in &rows {
            let peak = Peak::begin();
            client.stream.write_all(&row.frame).await.unwrap();
            let answer = timeout(SOON * 20, client.next_frame()).await.unwrap_or_else(|_| panic!("{}", row.name));
            let codes = (row.codes)(answer.unwrap_or_else(|| panic!("{} closed the connection", row.name)));
            findings.expect(codes == row.expected, || format!("{}: {codes:?}, expected {:?}", row.name, row.expected));
            findings.after(row.name, &mut honest, measured.then(|| peak.grown())).await;
        }
        for (row, records, code) in &batches {
            let peak = Peak::begin();
            let answer = produced(&mut client, id, records.clone()).await;
            findings.expect(answer == (*code, -1), || format!("{row}: {answer:?}, expected {code}"));
            findings.after(row, &mut honest, measured.then(|| peak.grown())).await;
        }
        findings.expect(log.said() == said, || format!("codes are not for the log: {:?}", log.last()));
        counted = closed.len() + rows.len() + batches.len();
        println!("{} rows close, {} get a code", closed.len(), rows.len() + batches.len());
    }
    assert!(findings.0.is_empty(), "{}", findings.0.join("\n"));
    assert!(counted > 300, "{counted} rows");
}

/// What becomes of a connection that sent these bytes.
async fn end_of(server: &Server, bytes: &Bytes) -> &'static str {
    let mut client = server.connect();
    client.stream.write_all(bytes).await.unwrap();
    match timeout(SOON * 4, client.next_frame()).await {
        Ok(None) => "closed",
        Ok(Some(_)) => "answered",
        Err(_) => "still open",
    }
}

/// Code and base offset of one batch to partition 1, which stays empty.
async fn produced(client: &mut Client, id: Uuid, records: Bytes) -> (i16, i64) {
    client.stream.write_all(&frame(13, 1, &produce("", id, &[(1, Some(records))]))).await.unwrap();
    let answer = decode::<ProduceRequest>(13, 1, client.next_frame().await.unwrap());
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

/// Groups have coordinators once their topic is led.
async fn until_coordinated(client: &mut Client) {
    use kafka_protocol::messages::FindCoordinatorRequest;
    use kafka_protocol::protocol::StrBytes;
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![StrBytes::from_static_str("g")]);
    for _ in 0..200 {
        if client.call(4, &find).await.coordinators[0].error_code == 0 {
            return;
        }
        tokio::time::sleep(SOON / 50).await;
    }
    unreachable!("no coordinator after {:?}", SOON * 4);
}
