//! Google's and Azure's stores before a server that says what it is told to: what is tried again, and what is one line.

use std::collections::VecDeque;
use std::convert::identity;
use std::net::SocketAddr;
use std::sync::Arc;

use opendal::ErrorKind;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::store_settings::{AzureSettings, GcsSettings};

const SECRET: &str = "c2VjcmV0";

/// Answers each request with the next status of a list, and with the last one for ever.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    statuses: Arc<Mutex<VecDeque<u16>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn saying(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            statuses: Arc::new(Mutex::new(statuses.iter().copied().collect())),
            requests: Arc::default(),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().answer(stream));
            }
        });
        server
    }

    /// One request of a connection, which then closes.
    async fn answer(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let (mut head, mut body_bytes) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                body_bytes = bytes.trim().parse().unwrap();
            }
            head.push_str(&line);
        }
        stream.read_exact(&mut vec![0; body_bytes]).await.unwrap();
        self.requests.lock().push(head.lines().next().unwrap_or_default().to_owned());
        let status = {
            let mut statuses = self.statuses.lock();
            let next = statuses.front().copied().unwrap_or(500);
            if statuses.len() > 1 {
                statuses.pop_front();
            }
            next
        };
        let answer = format!("HTTP/1.1 {status} so\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    fn requests(&self) -> usize {
        self.requests.lock().len()
    }

    /// Both kinds of store at this server.
    fn stores(&self) -> [StoreSettings; 2] {
        let gcs = GcsSettings {
            bucket: "here".to_owned(),
            prefix: "p".to_owned(),
            emulator: Some(format!("http://{}", self.address)),
            credentials_file: None,
        };
        let azure = AzureSettings {
            container: "here".to_owned(),
            prefix: "p".to_owned(),
            account: Some("account".to_owned()),
            endpoint: Some(format!("http://{}/account", self.address)),
            key: Some(SECRET.to_owned()),
            sas_token: None,
            connection_string: None,
        };
        [StoreSettings::Gcs(gcs), StoreSettings::Azure(azure)]
    }
}

/// With its layers, but not tried.
fn operator(settings: &StoreSettings) -> Operator {
    let (operator, _) = match settings {
        StoreSettings::Gcs(gcs) => remote_store::gcs(gcs).unwrap(),
        StoreSettings::Azure(azure) => remote_store::azure(azure).unwrap(),
        other => panic!("{other:?}"),
    };
    dependable(operator, IO_TIMEOUT)
}

#[tokio::test]
async fn what_a_store_says_for_the_moment_is_asked_again() {
    for (index, done) in [(0, 204), (1, 202)] {
        let server = Server::saying(&[503, 429, 500, done]).await;
        operator(&server.stores()[index]).delete("k").await.unwrap();
        assert_eq!(server.requests(), 4, "{:?}", server.requests.lock());
    }
}

#[tokio::test]
async fn what_a_store_says_for_good_is_not_asked_again() {
    for index in [0, 1] {
        for (status, kind) in [(403, ErrorKind::PermissionDenied), (404, ErrorKind::NotFound)] {
            let server = Server::saying(&[status]).await;
            let refused = operator(&server.stores()[index]).read("k").await.unwrap_err();
            assert_eq!(refused.kind(), kind);
            assert_eq!(server.requests(), 1, "{status}: {:?}", server.requests.lock());
        }
        let server = Server::saying(&[403]).await;
        operator(&server.stores()[index]).write("k", "v").await.unwrap_err();
        assert_eq!(server.requests(), 1, "{:?}", server.requests.lock());
    }
}

/// Above every size at which OpenDAL begins to send in parts where it is left to choose.
#[tokio::test]
async fn a_large_object_is_one_request() {
    for index in [0, 1] {
        let server = Server::saying(&[403]).await;
        let operator = operator(&server.stores()[index]);
        let pieces = vec![bytes::Bytes::from(vec![7; 1 << 20]); 40];
        operator.write("k", opendal::Buffer::from(pieces)).await.unwrap_err();
        let requests = server.requests.lock().clone();
        assert_eq!(requests.len(), 1, "{requests:?}");
        let is_whole =
            ["uploadType=media", "PUT /account/here/p/k HTTP"].iter().any(|whole| requests[0].contains(whole));
        assert!(is_whole, "{requests:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_or_container_is_one_line() {
    let table = [
        (404, ["bucket \"here\" does not exist", "container \"here\" does not exist"]),
        (403, ["does not let these credentials list objects"; 2]),
        (401, ["does not let these credentials list objects"; 2]),
        (400, ["does not answer"; 2]),
    ];
    for (status, lines) in table {
        for (index, said) in lines.into_iter().enumerate() {
            let server = Server::saying(&[status]).await;
            let line = format!("{:#}", open(&server.stores()[index], true, identity).await.err().expect("refused"));
            assert!(line.contains(said) && line.contains("here"), "{status}: {line}");
            assert!(line.lines().count() == 1 && !line.contains(SECRET), "{line}");
        }
    }
}

#[tokio::test]
async fn a_connection_string_that_cannot_be_read_is_not_shown() {
    let server = Server::saying(&[500]).await;
    let [_, StoreSettings::Azure(azure)] = server.stores() else { panic!("no Azure") };
    let whole = Some(format!("AccountKey={SECRET};AccountName"));
    let settings = AzureSettings { connection_string: whole, ..azure };
    let line = format!("{:#}", open(&StoreSettings::Azure(settings), true, identity).await.err().expect("refused"));
    assert!(line.contains("AZURE_STORAGE_CONNECTION_STRING") && !line.contains(SECRET), "{line}");
}
