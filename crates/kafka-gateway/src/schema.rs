//! What the bodies of the requests we serve look like, as data for [`crate::preflight`].
//!
//! The decoder we use allocates as many elements as an array *claims*, so a frame of eight bytes can ask for
//! gigabytes. The table below is just enough of Kafka's message schemas (fields in order, with the versions they
//! exist in) to walk a request without allocating anything, before that decoder sees it. Source: the `*Request.json`
//! files of Apache Kafka 4.1. A test holds it against the decoder for every API and version.

/// What a field is on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// This many bytes of any value.
    Fixed(usize),
    /// A string; compact in flexible versions.
    Text,
    /// Bytes; compact in flexible versions.
    Blob,
    /// An array of structs (with tagged fields of their own in flexible versions).
    Structs(&'static [Field]),
    /// An array of strings.
    Texts,
    /// An array of values of this many bytes each.
    FixedArray(usize),
    /// A struct.
    Struct(&'static [Field]),
    /// A struct behind a byte that is -1 for null.
    OptionStruct(&'static [Field]),
}

/// One field and the versions it exists in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) kind: Kind,
    /// First version with this field.
    pub(crate) since: i16,
    /// Last version with this field.
    pub(crate) until: i16,
    /// First version in which it may be null.
    pub(crate) nullable_since: i16,
    /// For a field that only exists as a tagged one: its tag.
    pub(crate) tag: Option<u32>,
}

impl Field {
    const fn new(kind: Kind) -> Self {
        Self { kind, since: 0, until: i16::MAX, nullable_since: i16::MAX, tag: None }
    }
    const fn since(mut self, version: i16) -> Self {
        self.since = version;
        self
    }
    const fn until(mut self, version: i16) -> Self {
        self.until = version;
        self
    }
    const fn nullable_since(mut self, version: i16) -> Self {
        self.nullable_since = version;
        self
    }
    const fn tagged(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }
    /// Whether requests of this version have the field.
    pub(crate) const fn exists_in(&self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }
}

const BOOLEAN: Field = Field::new(Kind::Fixed(1));
const INT8: Field = Field::new(Kind::Fixed(1));
const INT16: Field = Field::new(Kind::Fixed(2));
const INT32: Field = Field::new(Kind::Fixed(4));
const INT64: Field = Field::new(Kind::Fixed(8));
const UUID: Field = Field::new(Kind::Fixed(16));
const TEXT: Field = Field::new(Kind::Text);
const BLOB: Field = Field::new(Kind::Blob);
const TEXTS: Field = Field::new(Kind::Texts);
const INT32_ARRAY: Field = Field::new(Kind::FixedArray(4));
/// A topic's name and indexes of its partitions.
const PARTITIONS: &[Field] = &[TEXT, INT32_ARRAY];

const fn structs(fields: &'static [Field]) -> Field {
    Field::new(Kind::Structs(fields))
}

/// Body of a request.
pub(crate) type Body = &'static [Field];

pub(crate) const API_VERSIONS: Body = &[TEXT.since(3), TEXT.since(3)];

pub(crate) const METADATA: Body = &[
    structs(&[UUID.since(10), TEXT.nullable_since(10)]).nullable_since(1),
    BOOLEAN.since(4),
    BOOLEAN.since(8).until(10),
    BOOLEAN.since(8),
];

pub(crate) const PRODUCE: Body = &[
    TEXT.nullable_since(3),
    INT16,
    INT32,
    structs(&[TEXT.until(12), UUID.since(13), structs(&[INT32, BLOB.nullable_since(0)])]),
];

pub(crate) const FETCH: Body = &[
    INT32.until(14),
    INT32,
    INT32,
    INT32,
    INT8,
    INT32.since(7),
    INT32.since(7),
    structs(&[
        TEXT.until(12),
        UUID.since(13),
        structs(&[
            INT32,
            INT32.since(9),
            INT64,
            INT32.since(12),
            INT64.since(5),
            INT32,
            UUID.since(17).tagged(0),
            INT64.since(18).tagged(1),
        ]),
    ]),
    structs(&[TEXT.until(12), UUID.since(13), INT32_ARRAY]).since(7),
    TEXT.since(11),
    TEXT.since(12).nullable_since(12).tagged(0),
    Field::new(Kind::Struct(&[INT32, INT64])).since(15).tagged(1),
];

pub(crate) const LIST_OFFSETS: Body =
    &[INT32, INT8.since(2), structs(&[TEXT, structs(&[INT32, INT32.since(4), INT64])]), INT32.since(10)];

pub(crate) const OFFSET_FOR_LEADER_EPOCH: Body = &[INT32.since(3), structs(&[TEXT, structs(&[INT32, INT32, INT32])])];

pub(crate) const FIND_COORDINATOR: Body = &[TEXT.until(3), INT8.since(1), TEXTS.since(4)];

pub(crate) const OFFSET_COMMIT: Body = &[
    TEXT,
    INT32,
    TEXT,
    TEXT.since(7).nullable_since(7),
    INT64.until(4),
    structs(&[TEXT.until(9), UUID.since(10), structs(&[INT32, INT64, INT32.since(6), TEXT.nullable_since(0)])]),
];

pub(crate) const OFFSET_FETCH: Body = &[
    TEXT.until(7),
    structs(&[TEXT, INT32_ARRAY]).until(7).nullable_since(2),
    structs(&[
        TEXT,
        TEXT.since(9).nullable_since(9),
        INT32.since(9),
        structs(&[TEXT.until(9), UUID.since(10), INT32_ARRAY]).nullable_since(8),
    ])
    .since(8),
    BOOLEAN.since(7),
];

pub(crate) const OFFSET_DELETE: Body = &[TEXT, structs(&[TEXT, structs(&[INT32])])];

pub(crate) const JOIN_GROUP: Body = &[
    TEXT,
    INT32,
    INT32.since(1),
    TEXT,
    TEXT.since(5).nullable_since(5),
    TEXT,
    structs(&[TEXT, BLOB]),
    TEXT.since(8).nullable_since(8),
];

pub(crate) const SYNC_GROUP: Body = &[
    TEXT,
    INT32,
    TEXT,
    TEXT.since(3).nullable_since(3),
    TEXT.since(5).nullable_since(5),
    TEXT.since(5).nullable_since(5),
    structs(&[TEXT, BLOB]),
];

pub(crate) const HEARTBEAT: Body = &[TEXT, INT32, TEXT, TEXT.since(3).nullable_since(3)];

pub(crate) const LEAVE_GROUP: Body =
    &[TEXT, TEXT.until(2), structs(&[TEXT, TEXT.nullable_since(3), TEXT.since(5).nullable_since(5)]).since(3)];

pub(crate) const LIST_GROUPS: Body = &[TEXTS.since(4), TEXTS.since(5)];

pub(crate) const DESCRIBE_GROUPS: Body = &[TEXTS, BOOLEAN.since(3)];

pub(crate) const DELETE_GROUPS: Body = &[TEXTS];

pub(crate) const CREATE_TOPICS: Body = &[
    structs(&[TEXT, INT32, INT16, structs(&[INT32, INT32_ARRAY]), structs(&[TEXT, TEXT.nullable_since(0)])]),
    INT32,
    BOOLEAN,
];

pub(crate) const DELETE_TOPICS: Body = &[structs(&[TEXT.nullable_since(6), UUID]).since(6), TEXTS.until(5), INT32];

pub(crate) const DELETE_RECORDS: Body = &[structs(&[TEXT, structs(&[INT32, INT64])]), INT32];

pub(crate) const CREATE_PARTITIONS: Body =
    &[structs(&[TEXT, INT32, structs(&[INT32_ARRAY]).nullable_since(0)]), INT32, BOOLEAN];

pub(crate) const DESCRIBE_CONFIGS: Body = &[structs(&[INT8, TEXT, TEXTS.nullable_since(0)]), BOOLEAN, BOOLEAN.since(3)];

pub(crate) const INIT_PRODUCER_ID: Body = &[TEXT.nullable_since(0), INT32, INT64.since(3), INT16.since(3)];

pub(crate) const DESCRIBE_CLUSTER: Body = &[BOOLEAN, INT8.since(1), BOOLEAN.since(2)];

pub(crate) const DESCRIBE_TOPIC_PARTITIONS: Body =
    &[structs(&[TEXT]), INT32, Field::new(Kind::OptionStruct(&[TEXT, INT32]))];

pub(crate) const CONSUMER_GROUP_HEARTBEAT: Body = &[
    TEXT,
    TEXT,
    INT32,
    TEXT.nullable_since(0),
    TEXT.nullable_since(0),
    INT32,
    TEXTS.nullable_since(0),
    TEXT.since(1).nullable_since(1),
    TEXT.nullable_since(0),
    structs(&[UUID, INT32_ARRAY]).nullable_since(0),
];

pub(crate) const CONSUMER_GROUP_DESCRIBE: Body = &[TEXTS, BOOLEAN];
pub(crate) const DESCRIBE_ACLS: Body =
    &[INT8, TEXT.nullable_since(0), INT8.since(1), TEXT.nullable_since(0), TEXT.nullable_since(0), INT8, INT8];

pub(crate) const CREATE_ACLS: Body = &[structs(&[INT8, TEXT, INT8.since(1), TEXT, TEXT, INT8, INT8])];

pub(crate) const DELETE_ACLS: Body = &[structs(DESCRIBE_ACLS)];

pub(crate) const ALTER_CONFIGS: Body = &[structs(&[INT8, TEXT, structs(&[TEXT, TEXT.nullable_since(0)])]), BOOLEAN];

pub(crate) const ALTER_REPLICA_LOG_DIRS: Body = &[structs(&[TEXT, structs(PARTITIONS)])];

pub(crate) const DESCRIBE_LOG_DIRS: Body = &[structs(PARTITIONS).nullable_since(0)];

pub(crate) const ELECT_LEADERS: Body = &[INT8.since(1), structs(PARTITIONS).nullable_since(0), INT32];

pub(crate) const INCREMENTAL_ALTER_CONFIGS: Body =
    &[structs(&[INT8, TEXT, structs(&[TEXT, INT8, TEXT.nullable_since(0)])]), BOOLEAN];

pub(crate) const ALTER_PARTITION_REASSIGNMENTS: Body =
    &[INT32, BOOLEAN.since(1), structs(&[TEXT, structs(&[INT32, INT32_ARRAY.nullable_since(0)])])];

pub(crate) const LIST_PARTITION_REASSIGNMENTS: Body = &[INT32, structs(PARTITIONS).nullable_since(0)];

pub(crate) const DESCRIBE_CLIENT_QUOTAS: Body = &[structs(&[TEXT, INT8, TEXT.nullable_since(0)]), BOOLEAN];

pub(crate) const ALTER_CLIENT_QUOTAS: Body =
    &[structs(&[structs(&[TEXT, TEXT.nullable_since(0)]), structs(&[TEXT, INT64, BOOLEAN])]), BOOLEAN];

pub(crate) const DESCRIBE_USER_SCRAM_CREDENTIALS: Body = &[structs(&[TEXT]).nullable_since(0)];

pub(crate) const DESCRIBE_PRODUCERS: Body = &[structs(PARTITIONS)];

pub(crate) const LIST_TRANSACTIONS: Body =
    &[TEXTS, Field::new(Kind::FixedArray(8)), INT64.since(1), TEXT.since(2).nullable_since(2)];

pub(crate) const LIST_CONFIG_RESOURCES: Body = &[Field::new(Kind::FixedArray(1)).since(1)];
