//! The conformance suite, once per implementation.

mod memory {
    use metadata::MemoryStore;

    async fn make() -> (MemoryStore, ()) {
        (MemoryStore::new(uuid::Uuid::from_u128(7), || 1_700_000_000_000), ())
    }

    metadata::conformance_tests!(super::make);
}

mod sqlite {
    use metadata::{SqliteOptions, SqliteStore};
    use tempfile::TempDir;

    async fn make() -> (SqliteStore, TempDir) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let options = SqliteOptions { new_cluster_id: uuid::Uuid::from_u128(7) };
        let store = SqliteStore::open(&folder.path().join("metadata.db"), options).await.expect("opens");
        (store, folder)
    }

    metadata::conformance_tests!(super::make);
}

mod postgres {
    use metadata::PostgresStore;

    async fn make() -> (PostgresStore, ()) {
        (crate::postgres_server::store(crate::postgres_server::Way::Direct).await, ())
    }

    metadata::conformance_tests!(super::make);
}

mod pgbouncer {
    use metadata::PostgresStore;

    async fn make() -> (PostgresStore, ()) {
        (crate::postgres_server::store(crate::postgres_server::Way::Pooled).await, ())
    }

    metadata::conformance_tests!(super::make);
}
