//! Rights in the database: what each table, role, policy and login allows, read from Postgres' catalogue, and what a login
//! with less or more than it needs can do.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use liveplan::auth::{Role, store};
use liveplan::config::Config;
use liveplan::db::migrations::{self, Direction};
use liveplan::db::{self, Mode, Scope};
use liveplan::server::boot;
use uuid::Uuid;

use crate::harness::process::{Node, liveplan};
use crate::harness::{TestApp, config, postgres};

/// Tables that no row-level security protects, each with the reason.
const UNPROTECTED: [(&str, &str); 8] = [
    ("__diesel_schema_migrations", "versions of migrations"),
    (
        "deployment",
        "the issuer of access tokens; only the system role has rights",
    ),
    (
        "known_devices",
        "devices belong to accounts, not to gyms; only the system role has rights",
    ),
    (
        "food_tables",
        "checksums of embedded tables; only the system role has rights",
    ),
    ("foods", "shared by all gyms; the application role only reads"),
    ("log_origin", "the cluster's identity; only the system role has rights"),
    (
        "sealed_secrets",
        "keys of the whole deployment; only the system role has rights",
    ),
    (
        "signing_keys",
        "keys of the whole deployment; only the system role has rights",
    ),
];

/// The rights on a tenant table, unless [`GRANTS`] has others.
const USUAL: (&str, &str) = ("DELETE INSERT SELECT UPDATE", "DELETE INSERT SELECT UPDATE");

/// Other rights: table, those of `liveplan_app`, and those of `liveplan_system`.
const GRANTS: [(&str, &str, &str); 15] = [
    ("__diesel_schema_migrations", "", "SELECT"),
    (
        "accounts",
        "SELECT(created_at) SELECT(email) SELECT(id) SELECT(locale) SELECT(name) SELECT(time_zone)",
        "INSERT SELECT UPDATE",
    ),
    ("completion_history", "INSERT SELECT", "INSERT SELECT"),
    ("deployment", "", "INSERT SELECT UPDATE"),
    ("known_devices", "", "DELETE INSERT SELECT UPDATE"),
    ("food_tables", "", "INSERT SELECT UPDATE"),
    ("foods", "SELECT", "INSERT SELECT UPDATE"),
    ("gym_log_heads", "SELECT UPDATE", "INSERT SELECT UPDATE"),
    (
        "gyms",
        "SELECT UPDATE(day_start) UPDATE(locale) UPDATE(name) UPDATE(settings) UPDATE(time_zone)",
        "INSERT SELECT UPDATE",
    ),
    ("live_events", "INSERT SELECT", "INSERT SELECT"),
    ("log_origin", "", "INSERT SELECT UPDATE"),
    ("memberships", "INSERT SELECT UPDATE", "INSERT SELECT UPDATE"),
    ("sealed_secrets", "", "INSERT SELECT UPDATE"),
    ("sessions", "SELECT UPDATE", "DELETE INSERT SELECT UPDATE"),
    ("signing_keys", "", "INSERT SELECT UPDATE"),
];

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

async fn lines(conn: &mut AsyncPgConnection, sql: &str) -> Vec<String> {
    let lines: Vec<Line> = diesel::sql_query(sql).load(conn).await.expect(sql);
    lines.into_iter().map(|l| l.line).collect()
}

async fn count(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let count: Count = diesel::sql_query(sql).get_result(conn).await.expect(sql);
    count.n
}

/// A connection with the login of the database's owner.
async fn connect(url: &str) -> AsyncPgConnection {
    liveplan::db::establish(url).await.expect("a connection")
}

/// A migrated database with partitions of live events, and a connection of its owner's.
async fn database() -> (String, AsyncPgConnection) {
    let url = postgres::fresh_database().await;
    let mut conn = connect(&url).await;
    diesel::sql_query("SELECT make_live_event_partitions(current_date, 2)")
        .execute(&mut conn)
        .await
        .expect("partitions");
    (url, conn)
}

/// Asserts that Postgres refuses a statement for lack of rights.
#[track_caller]
fn denied<T: std::fmt::Debug>(result: Result<T, DieselError>, what: &str) {
    match result {
        Err(DieselError::DatabaseError(_, info)) => {
            assert!(
                info.message().starts_with("permission denied"),
                "{what}: {}",
                info.message()
            );
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test]
async fn every_table_is_under_forced_row_level_security_or_listed_with_a_reason() {
    let (_, mut conn) = database().await;
    let found = lines(
        &mut conn,
        "SELECT format('%s %s %s %s', relname, relrowsecurity, relforcerowsecurity,
                       (SELECT string_agg(format('%s:%s', polname, polroles::regrole[]), ' ' ORDER BY polname)
                        FROM pg_policy WHERE polrelid = c.oid)) AS line
         FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
         ORDER BY relname",
    )
    .await;
    let all = "t t owner:{liveplan_owner} system:{liveplan_system} tenant:{liveplan_app}";
    let mut partitions = 0;
    for line in &found {
        let (table, rest) = line.split_once(' ').expect("a name");
        if UNPROTECTED.iter().any(|(name, _)| *name == table) {
            assert_eq!(rest.trim(), "f f", "{table}");
        } else if table.starts_with("live_events_") {
            // Only the owner reads a partition by its own name, for a dump.
            assert_eq!(rest, "t t owner:{liveplan_owner}", "{table}");
            partitions += 1;
        } else {
            assert_eq!(rest, all, "{table}");
        }
    }
    assert!(found.len() > 25 && partitions >= 2, "{found:?}");
    for (name, _) in UNPROTECTED {
        assert!(found.iter().any(|line| line.starts_with(&format!("{name} "))), "{name}");
    }
}

#[tokio::test]
async fn every_policy_also_checks_what_is_written() {
    let (_, mut conn) = database().await;
    let policies = lines(
        &mut conn,
        "SELECT format('%s %s %s', polrelid::regclass, polname, polcmd <> 'r' AND polwithcheck IS NULL) AS line
         FROM pg_policy",
    )
    .await;
    assert!(policies.len() > 60, "{policies:?}");
    let unchecked: Vec<_> = policies.iter().filter(|line| line.ends_with(" t")).collect();
    assert!(unchecked.is_empty(), "{unchecked:?}");
}

#[tokio::test]
async fn every_grant_is_an_expected_one() {
    let (_, mut conn) = database().await;
    let found = lines(
        &mut conn,
        "WITH grants AS (
             SELECT c.oid, a.grantee, a.privilege_type AS right FROM pg_class c, aclexplode(c.relacl) a
             WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner
             UNION ALL
             SELECT c.oid, a.grantee, format('%s(%s)', a.privilege_type, t.attname)
             FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
             WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner)
         SELECT format('%s|%s|%s', oid::regclass, CASE grantee WHEN 0 THEN 'public' ELSE grantee::regrole::text END,
                       string_agg(\"right\", ' ' ORDER BY \"right\")) AS line
         FROM grants GROUP BY oid, grantee",
    )
    .await;
    let mut granted: BTreeMap<(String, String), String> = BTreeMap::new();
    for line in found {
        let [table, role, rights] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        granted.insert((table.to_owned(), role.to_owned()), rights.to_owned());
    }
    let tables = lines(
        &mut conn,
        "SELECT relname::text AS line FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition",
    )
    .await;
    for table in tables {
        let (app, system) = GRANTS
            .iter()
            .find(|(name, ..)| *name == table)
            .map_or(USUAL, |(_, app, system)| (*app, *system));
        for (role, expected) in [("liveplan_app", app), ("liveplan_system", system)] {
            let rights = granted.remove(&(table.clone(), role.to_owned())).unwrap_or_default();
            assert_eq!(rights, expected, "{role} on {table}");
        }
    }
    assert!(granted.is_empty(), "{granted:?}");
}

#[tokio::test]
async fn functions_with_their_owners_rights_have_a_fixed_path_and_bounds() {
    let (url, mut conn) = database().await;
    let functions = lines(
        &mut conn,
        "SELECT format('%s %s %s', p.oid::regprocedure, p.proconfig,
                       (SELECT string_agg(a.grantee::regrole::text, ' ') FROM aclexplode(p.proacl) a
                        WHERE a.grantee <> p.proowner)) AS line
         FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef",
    )
    .await;
    assert_eq!(
        functions,
        [r#"make_live_event_partitions(date,integer) {"search_path=public, pg_temp"} liveplan_system"#]
    );
    let callable = lines(
        &mut conn,
        "SELECT p.oid::regprocedure::text AS line FROM pg_proc p
         LEFT JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
         WHERE p.pronamespace = 'public'::regnamespace AND d.objid IS NULL AND has_function_privilege('liveplan_app', p.oid, 'EXECUTE')",
    )
    .await;
    assert_eq!(callable, ["app_gym()"]);

    let mut server = connect(&postgres::as_server(&url)).await;
    server
        .batch_execute("SET ROLE liveplan_system")
        .await
        .expect("the role");
    for call in [
        "current_date, 63",
        "current_date, -1",
        "current_date + 401, 1",
        "current_date - 401, 1",
        "'infinity', 1",
    ] {
        let made = server
            .batch_execute(&format!("SELECT make_live_event_partitions({call})"))
            .await;
        assert!(made.is_err(), "{call}");
    }
    let partitions = "SELECT count(*) AS n FROM pg_inherits WHERE inhparent = 'live_events'::regclass";
    assert_eq!(count(&mut conn, partitions).await, 2);
}

#[tokio::test]
async fn the_servers_login_has_no_rights_but_to_act_as_the_two_roles() {
    let (url, mut owner) = database().await;
    let login = lines(
        &mut owner,
        "SELECT format('%s %s %s %s %s %s %s', rolcanlogin, rolsuper, rolinherit, rolbypassrls, rolcreaterole, rolcreatedb,
                       rolreplication) AS line
         FROM pg_roles WHERE rolname = 'liveplan_serve'",
    )
    .await;
    assert_eq!(login, ["t f f f f f f"]);
    let roles = lines(
        &mut owner,
        "SELECT r.roleid::regrole::text AS line FROM pg_auth_members r WHERE r.member = 'liveplan_serve'::regrole ORDER BY 1",
    )
    .await;
    assert_eq!(roles, ["liveplan_app", "liveplan_system"]);
    let owned = "SELECT count(*) AS n FROM pg_shdepend WHERE refobjid = 'liveplan_serve'::regrole AND deptype = 'o'";
    assert_eq!(count(&mut owner, owned).await, 0);

    let mut server = connect(&postgres::as_server(&url)).await;
    for statement in [
        "SELECT 1 FROM gyms",
        "SELECT 1 FROM foods",
        "SELECT 1 FROM signing_keys",
        "DELETE FROM memberships",
        "SET ROLE liveplan",
        "SET ROLE liveplan_owner",
        "CREATE TABLE mine (n integer)",
    ] {
        denied(server.batch_execute(statement).await, statement);
    }
    let bypass = server.batch_execute("ALTER ROLE liveplan_serve BYPASSRLS").await;
    assert!(bypass.is_err(), "it may change its own attributes");
}

#[tokio::test]
async fn a_gyms_transaction_neither_reads_nor_writes_password_hashes() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let person = app.person(gym, &[Role::Member]).await;
    let scope = Scope::Gym(gym.id);
    let read = db::run(&app.app.pool, scope, Mode::Write, async |conn| {
        let found = store::password_hash(conn, person.account).await;
        denied(found, "a read");
        Ok(())
    });
    // The transaction is aborted, so its end fails too.
    drop(read.await);
    for statement in [
        "UPDATE accounts SET password_hash = 'mine'",
        "UPDATE accounts SET name = 'Mine'",
        "SELECT 1 FROM accounts WHERE password_hash LIKE '$argon2%'",
        "SELECT accounts FROM accounts",
        "DELETE FROM accounts",
        "UPDATE gyms SET slug = 'mine'",
        "UPDATE gyms SET demo = false",
        "INSERT INTO sessions SELECT * FROM sessions",
    ] {
        let done = db::run(&app.app.pool, scope, Mode::Write, async |conn| {
            denied(conn.batch_execute(statement).await, statement);
            Ok(())
        });
        drop(done.await);
    }
    let seen = db::run(&app.app.pool, scope, Mode::Snapshot, async |conn| {
        Ok(store::account(conn, person.account).await?)
    });
    assert_eq!(seen.await.expect("an account").email, person.email);
    app.stop().await;
}

#[tokio::test]
async fn a_gym_sees_the_accounts_of_accepted_memberships_only() {
    let app = TestApp::start().await;
    let (gym, other) = (app.gym().await, app.gym().await);
    let stranger = app.person(other, &[Role::Member]).await;
    let mut owner = app.owner().await;
    let seen = async || {
        db::run(&app.app.pool, Scope::Gym(gym.id), Mode::Snapshot, async |conn| {
            #[derive(diesel::QueryableByName)]
            struct Count {
                #[diesel(sql_type = BigInt)]
                n: i64,
            }
            let count: Count = diesel::sql_query("SELECT count(id) AS n FROM accounts")
                .get_result(conn)
                .await?;
            Ok(count.n)
        })
        .await
        .expect("a count")
    };
    assert_eq!(seen().await, 0);
    diesel::sql_query(
        "INSERT INTO memberships (gym_id, account_id, roles, status, created_at)
         VALUES ($1, $2, '{member}', 'active', now())",
    )
    .bind::<SqlUuid, _>(gym.id)
    .bind::<SqlUuid, _>(stranger.account)
    .execute(&mut owner)
    .await
    .expect("a membership");
    for status in ["active", "suspended", "ended"] {
        diesel::sql_query("UPDATE memberships SET status = $1 WHERE gym_id = $2")
            .bind::<Text, _>(status)
            .bind::<SqlUuid, _>(gym.id)
            .execute(&mut owner)
            .await
            .expect(status);
        assert_eq!(seen().await, 1, "{status}");
    }
    app.stop().await;
}

/// Runs the binary and waits for its end.
async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("joined")
        .expect("the program")
}

/// A database whose owner is no superuser, and addresses with the owner's login and with one for the server that does not
/// exist yet.
struct Plain {
    superuser: String,
    owner: String,
    server: String,
    owner_name: String,
    server_name: String,
}

impl Plain {
    async fn make() -> Self {
        let superuser = postgres::empty_database().await;
        let mut conn = connect(&superuser).await;
        let id = Uuid::new_v4().simple().to_string();
        let (owner_name, server_name) = (format!("owner_{id}"), format!("server_{id}"));
        let name = superuser.rsplit('/').next().expect("a name");
        // Before Postgres 16, CREATEROLE alone suffices to grant the product's roles.
        let sixteen = count(&mut conn, "SELECT current_setting('server_version_num')::bigint AS n").await >= 160_000;
        let grant = if sixteen {
            format!(
                "GRANT liveplan_app, liveplan_system, liveplan_owner TO {owner_name}
                 WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
            )
        } else {
            String::new()
        };
        conn.batch_execute(&format!(
            "CREATE ROLE {owner_name} LOGIN CREATEROLE; ALTER DATABASE {name} OWNER TO {owner_name}; {grant}"
        ))
        .await
        .expect("an owner");
        Self {
            owner: superuser.replace("//liveplan@", &format!("//{owner_name}@")),
            server: superuser.replace("//liveplan@", &format!("//{server_name}:secret@")),
            superuser,
            owner_name,
            server_name,
        }
    }

    /// A command with both addresses.
    fn command(&self, word: &str) -> Command {
        let mut command = liveplan(&self.superuser);
        command
            .arg(word)
            .env("DATABASE_URL", &self.server)
            .env("DATABASE_OWNER_URL", &self.owner);
        command
    }

    async fn migrate(&self) {
        let done = run(self.command("migrate")).await;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Leaves the owner only what every owner has: no superuser granted it the two roles.
    async fn without_roles(&self) {
        connect(&self.superuser)
            .await
            .batch_execute(&format!(
                "REVOKE liveplan_app, liveplan_system FROM {}",
                self.owner_name
            ))
            .await
            .expect("revoked");
    }
}

#[tokio::test]
async fn migrate_makes_the_servers_login_and_serve_runs_without_the_owners_address() {
    let plain = Plain::make().await;
    plain.migrate().await;
    let mut superuser = connect(&plain.superuser).await;
    let verifier = format!(
        "SELECT rolpassword AS line FROM pg_authid WHERE rolname = '{}'",
        plain.server_name
    );
    let verifier = lines(&mut superuser, &verifier).await;
    assert!(verifier[0].starts_with("SCRAM-SHA-256$"), "{verifier:?}");
    // Again: nothing is left to do, and nothing is undone.
    plain.migrate().await;
    let node = Node::alone(&plain.server).await;
    let answer = reqwest::get(format!("http://{}/readyz", node.address))
        .await
        .expect("an answer");
    assert!(answer.status().is_success());
    node.stop().await;
}

#[tokio::test]
async fn a_login_with_inheritance_loses_it_and_one_with_more_rights_is_refused() {
    let plain = Plain::make().await;
    let mut superuser = connect(&plain.superuser).await;
    let user = &plain.server_name;
    let make = format!("CREATE ROLE {user} LOGIN INHERIT; GRANT liveplan_app TO {user}");
    superuser.batch_execute(&make).await.expect("a login");
    plain.migrate().await;
    let inherits = format!("SELECT rolinherit::text AS line FROM pg_roles WHERE rolname = '{user}'");
    assert_eq!(lines(&mut superuser, &inherits).await, ["false"]);
    superuser
        .batch_execute(&format!("GRANT pg_read_all_data TO {user}"))
        .await
        .expect("granted");
    let done = run(plain.command("migrate")).await;
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("may act as pg_read_all_data"), "{said}");
}

#[tokio::test]
async fn an_owner_who_may_not_create_roles_gets_the_sql_for_an_administrator() {
    let plain = Plain::make().await;
    let mut superuser = connect(&plain.superuser).await;
    let owner = &plain.owner_name;
    let mut first = plain.command("migrate");
    first.env_remove("DATABASE_URL");
    assert!(run(first).await.status.success());
    superuser
        .batch_execute(&format!("ALTER ROLE {owner} NOCREATEROLE"))
        .await
        .expect("altered");
    let done = run(plain.command("migrate")).await;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    let (_, sql) = said.split_once("\n\n").expect("the SQL");
    assert!(sql.contains("NOINHERIT") && !sql.contains("secret"), "{said}");
    superuser.batch_execute(sql).await.expect("an administrator runs it");
    plain.migrate().await;
    Node::alone(&plain.server).await.stop().await;
}

async fn refusal(config: &Config) -> String {
    match boot::boot(config).await {
        Ok(_) => panic!("it starts"),
        Err(error) => format!("{error:#}"),
    }
}

/// The configuration of a server with one login and without the owner's address.
fn served_as(url: &str) -> Config {
    Config {
        database_url: Some(url.to_owned()),
        database_owner_url: None,
        ..config("")
    }
}

#[tokio::test]
async fn a_server_refuses_a_login_with_more_rights_than_it_needs() {
    let plain = Plain::make().await;
    plain.migrate().await;
    for (url, fault) in [
        (&plain.superuser, "is a superuser"),
        (&plain.owner, "may create roles, owns "),
    ] {
        let said = refusal(&served_as(url)).await;
        assert!(said.contains(fault), "{said}");
        assert!(
            said.contains("DATABASE_OWNER_URL") && said.contains("`liveplan migrate`"),
            "{said}"
        );
    }
    let mut superuser = connect(&plain.superuser).await;
    let server = &plain.server_name;
    for (give, take, fault) in [
        (
            "ALTER ROLE * BYPASSRLS",
            "ALTER ROLE * NOBYPASSRLS",
            "bypasses row-level security",
        ),
        (
            "GRANT liveplan_owner TO *",
            "REVOKE liveplan_owner FROM *",
            "may act as liveplan_owner",
        ),
        (
            "GRANT SELECT (name) ON gyms TO *",
            "REVOKE SELECT (name) ON gyms FROM *",
            "has rights of its own on gyms",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO *",
            "REVOKE CREATE ON SCHEMA public FROM *",
            "may create tables",
        ),
        (
            "REVOKE liveplan_system FROM *",
            "GRANT liveplan_system TO *",
            "may not act as liveplan_system",
        ),
    ] {
        superuser.batch_execute(&give.replace('*', server)).await.expect(give);
        let said = refusal(&served_as(&plain.server)).await;
        assert!(said.contains(fault), "{said}");
        superuser.batch_execute(&take.replace('*', server)).await.expect(take);
    }
    boot::boot(&served_as(&plain.server))
        .await
        .expect("it starts")
        .stop()
        .await;
    // A table that was made without its policies.
    superuser
        .batch_execute("ALTER TABLE plans NO FORCE ROW LEVEL SECURITY")
        .await
        .expect("altered");
    let said = refusal(&served_as(&plain.server)).await;
    assert!(said.contains("not in force for plans"), "{said}");
}

#[tokio::test]
async fn a_server_refuses_a_database_with_pending_migrations() {
    let plain = Plain::make().await;
    plain.migrate().await;
    migrations::run(&plain.owner, Direction::Down).await.expect("reverted");
    let said = refusal(&served_as(&plain.server)).await;
    assert!(
        said.contains("migrations are pending") && said.contains("`liveplan migrate`"),
        "{said}"
    );
}

#[tokio::test]
async fn commands_of_the_owner_refuse_to_run_without_its_address() {
    let plain = Plain::make().await;
    for word in ["migrate", "housekeeping"] {
        let mut command = plain.command(word);
        command.env_remove("DATABASE_OWNER_URL");
        let done = run(command).await;
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains("set DATABASE_OWNER_URL"), "{said}");
    }
    let mut command = plain.command("migrate");
    command.env("DATABASE_URL", &plain.owner);
    let done = run(command).await;
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("DATABASE_URL names the owner"), "{said}");
}

#[tokio::test]
async fn the_housekeeping_command_drops_what_a_server_without_the_owners_address_leaves() {
    let plain = Plain::make().await;
    plain.migrate().await;
    let mut owner = connect(&plain.owner).await;
    let old = "SELECT count(*) AS n FROM pg_class
               WHERE relname = 'live_events_' || to_char(current_date - 20, 'YYYYMMDD')";
    let make = "SELECT make_live_event_partitions(current_date - 20, 1)";
    diesel::sql_query(make).execute(&mut owner).await.expect("a partition");
    let booted = boot::boot(&served_as(&plain.server)).await.expect("a server");
    liveplan::server::housekeeping::once(&booted.app, None).await;
    assert_eq!(count(&mut owner, old).await, 1);
    booted.stop().await;
    let done = run(plain.command("housekeeping")).await;
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        "1 partitions dropped\n",
        "{done:?}"
    );
    assert_eq!(count(&mut owner, old).await, 0);
}

/// Fills the database with a demo gym, whose events are in the partition of today.
async fn fill(plain: &Plain) {
    let served = Config {
        demo: true,
        ..served_as(&plain.server)
    };
    let booted = boot::boot(&served).await.expect("a server");
    crate::harness::local(liveplan::demo::seed(&booted.app))
        .await
        .expect("a demo");
    booted.stop().await;
}

/// The number of rows of each table, as the owner sees them.
async fn rows(url: &str) -> BTreeMap<String, i64> {
    let mut conn = connect(url).await;
    let tables = lines(
        &mut conn,
        "SELECT relname::text AS line FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
    )
    .await;
    let mut rows = BTreeMap::new();
    for table in tables {
        let n = count(&mut conn, &format!("SELECT count(*) AS n FROM {table}")).await;
        rows.insert(table, n);
    }
    rows
}

#[tokio::test]
async fn a_dump_by_the_owner_and_its_restore_keep_every_row() {
    let plain = Plain::make().await;
    plain.migrate().await;
    fill(&plain).await;
    plain.without_roles().await;
    let programs = postgres::programs().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut dump = Command::new(programs.join("pg_dump"));
    dump.args(["--enable-row-security", "--no-owner", "--file"])
        .arg(file.path())
        .arg(&plain.owner);
    let done = run(dump).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let before = rows(&plain.superuser).await;
    assert!(before["accounts"] >= 29 && before["completions"] > 0, "{before:?}");
    assert!(
        before
            .iter()
            .any(|(table, n)| table.starts_with("live_events_2") && *n > 0),
        "{before:?}"
    );

    let restored = Plain::make().await;
    let mut restore = Command::new(programs.join("psql"));
    restore
        .args(["--quiet", "--set", "ON_ERROR_STOP=1", "--no-psqlrc", "--file"])
        .arg(file.path());
    restore.arg(&restored.owner);
    let done = run(restore).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(rows(&restored.superuser).await, before);
    // As the documentation says of a cluster that never ran the migrations.
    let mut superuser = connect(&restored.superuser).await;
    superuser
        .batch_execute(&format!("GRANT liveplan_owner TO {}", restored.owner_name))
        .await
        .expect("granted");
    assert_eq!(
        rows(&restored.owner).await,
        before,
        "the new owner must see all rows too"
    );
}

#[tokio::test]
async fn a_data_migration_by_the_owner_reaches_every_row() {
    let plain = Plain::make().await;
    plain.migrate().await;
    fill(&plain).await;
    plain.without_roles().await;
    let mut owner = connect(&plain.owner).await;
    for (statement, table) in [
        ("UPDATE plans SET description = description || '.'", "plans"),
        ("UPDATE accounts SET name = name || '.'", "accounts"),
        ("UPDATE live_events SET type = type", "live_events"),
    ] {
        let all = count(
            &mut connect(&plain.superuser).await,
            &format!("SELECT count(*) AS n FROM {table}"),
        )
        .await;
        let changed = diesel::sql_query(statement).execute(&mut owner).await.expect(statement);
        assert_eq!(i64::try_from(changed).expect("it fits"), all, "{statement}");
        assert!(all > 0, "{table}");
    }
    // A table of a later migration.
    owner
        .batch_execute(
            "CREATE TABLE later (gym_id uuid NOT NULL); SELECT protect_tenant_table('later', 'gym_id');
             INSERT INTO later SELECT id FROM gyms",
        )
        .await
        .expect("a table");
    assert_eq!(count(&mut owner, "SELECT count(*) AS n FROM later").await, 1);
}
