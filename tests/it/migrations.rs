//! Migrations can be applied, reverted and applied again.

use diesel::sql_types::Text;
use diesel_async::RunQueryDsl as _;
use liveplan::db::migrations::{self, Direction};

use crate::harness::postgres;

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// Lists the schema's columns, constraints, indexes, policies and functions, one per line.
async fn schema(url: &str) -> Vec<String> {
    let mut conn = liveplan::db::establish(url).await.expect("a connection");
    let lines: Vec<Line> = diesel::sql_query(
        "SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) AS line
         FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> '__diesel_schema_migrations'
         UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace AND conrelid <> 0
         UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
         UNION ALL SELECT format('%s %s %s %s', tablename, policyname, qual, with_check) FROM pg_policies
         UNION ALL SELECT pg_get_functiondef(p.oid) FROM pg_proc p
         LEFT JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
         WHERE p.pronamespace = 'public'::regnamespace AND d.objid IS NULL
         ORDER BY 1",
    )
    .load(&mut conn)
    .await
    .expect("the schema");
    lines.into_iter().map(|l| l.line).collect()
}

/// Finds redundant indexes: those whose columns are the first columns of another index with the same table, method and
/// predicate. A unique index is also a constraint, so it stays.
#[tokio::test]
async fn no_index_is_a_prefix_of_another() {
    let url = postgres::empty_database().await;
    migrations::run(&url, Direction::Up).await.expect("applied");
    let mut conn = liveplan::db::establish(&url).await.expect("a connection");
    let query = "
        WITH indexes AS (
            SELECT i.indexrelid, i.indrelid, i.indisunique, c.relam, c.relname,
                   coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
                   -- Each key column as it is defined, with its operator class, collation and order.
                   ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, true) || ' ' || i.indclass[n - 1] || ' '
                                || i.indcollation[n - 1] || ' ' || i.indoption[n - 1]
                         FROM generate_series(1, i.indnkeyatts) AS n ORDER BY n) AS keys,
                   i.indnatts - i.indnkeyatts AS included
            FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition)
        SELECT format('%s is the beginning of %s', a.relname, b.relname) AS line
        FROM indexes a JOIN indexes b USING (indrelid, relam, predicate)
        WHERE a.indexrelid <> b.indexrelid AND NOT a.indisunique AND a.included = 0
          AND a.keys = b.keys[1:cardinality(a.keys)]
          AND (b.indisunique OR a.keys <> b.keys OR a.indexrelid < b.indexrelid)
        ORDER BY 1";
    let found = async |conn: &mut _| -> Vec<String> {
        let lines: Vec<Line> = diesel::sql_query(query).load(conn).await.expect("indexes");
        lines.into_iter().map(|l| l.line).collect()
    };
    assert_eq!(found(&mut conn).await, Vec::<String>::new());
    diesel::sql_query("CREATE INDEX shorter ON assignments (gym_id)")
        .execute(&mut conn)
        .await
        .expect("an index");
    let shorter = found(&mut conn).await;
    assert!(
        !shorter.is_empty() && shorter.iter().all(|line| line.starts_with("shorter ")),
        "{shorter:?}"
    );
}

#[tokio::test]
async fn reverted_migrations_can_be_applied_again_and_give_the_same_schema() {
    let url = postgres::empty_database().await;
    let ran = migrations::run(&url, Direction::Up).await.expect("applied");
    let applied = schema(&url).await;
    assert!(
        ran >= 6 && applied.len() > 200,
        "{ran} migrations, {} lines",
        applied.len()
    );
    assert_eq!(migrations::run(&url, Direction::Up).await.expect("nothing to do"), 0);
    assert_eq!(migrations::run(&url, Direction::Down).await.expect("reverted"), ran);
    let left: Vec<_> = schema(&url)
        .await
        .into_iter()
        .filter(|l| !l.contains("__diesel"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(migrations::run(&url, Direction::Up).await.expect("applied again"), ran);
    assert_eq!(schema(&url).await, applied);
}

/// The attack: an account with an invited email that somebody else got first accepts the invitation by signing in.
#[tokio::test]
async fn invitations_that_were_memberships_open_nothing_after_the_migration() {
    use diesel_async::SimpleAsyncConnection as _;
    let mut conn = liveplan::db::establish(&postgres::fresh_database().await)
        .await
        .expect("a connection");
    let migration = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/2026-11-29-000060_claims");
        std::fs::read_to_string(format!("{folder}/{name}.sql")).expect("a migration")
    };
    conn.batch_execute(&migration("down")).await.expect("reverted");
    // `new` was never a member, `old` was one before, and `now` is one.
    conn.batch_execute(
        "INSERT INTO gyms (id, slug, name, time_zone, locale, created_at)
         VALUES ('00000000-0000-0000-0000-000000000001', 'norte', 'Norte', 'Europe/Madrid', 'es', now());
         INSERT INTO accounts (id, email, password_hash, name, locale, created_at)
         SELECT gen_random_uuid(), name || '@test.example', '', name, 'es', now() FROM unnest(ARRAY['new', 'old', 'now']) name;
         INSERT INTO memberships (gym_id, account_id, roles, status, created_at)
         SELECT '00000000-0000-0000-0000-000000000001', id, '{member}',
                CASE name WHEN 'now' THEN 'active' ELSE 'invited' END, now() FROM accounts;
         INSERT INTO sessions (id, gym_id, account_id, created_at, last_used_at, expires_at, ended_at)
         SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000001', id, now(), now(), now(), now()
         FROM accounts WHERE name = 'old'",
    )
    .await
    .expect("rows");
    conn.batch_execute(&migration("up")).await.expect("applied");
    let left: Vec<Line> = diesel::sql_query(
        "SELECT format('%s %s %s', name, status, access_version) AS line
         FROM memberships JOIN accounts ON id = account_id ORDER BY 1",
    )
    .load(&mut conn)
    .await
    .expect("memberships");
    let left: Vec<_> = left.into_iter().map(|l| l.line).collect();
    assert_eq!(left, ["now active 1", "old ended 2"]);
}
