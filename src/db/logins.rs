//! The two logins. The owner's migrates the database and drops old partitions. The server's owns nothing, and inherits
//! nothing: it may only act as `liveplan_app` and `liveplan_system`, which are under row-level security.
//!
//! [`prepare`] makes the server's login, as the owner. [`check_rights`] refuses to serve with a login that may do more.

use anyhow::Context as _;
use diesel::QueryableByName;
use diesel::sql_types::{Array, Bool, Integer, Text};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use postgres_protocol::password::scram_sha_256;

use super::locks::AdvisoryLock;
use super::tls::Address;
use super::{Mode, Pool, Scope};
use crate::ids::GymId;

/// The server's login at the embedded Postgres.
pub const EMBEDDED: &str = "liveplan_serve";

/// What a login may do beyond acting as the two roles, and which of the two it may not act as; one line each. A
/// superuser's only line is that it is one.
const FAULTS: &str = "
    WITH login AS (SELECT * FROM pg_roles WHERE rolname = $1),
    tables AS (SELECT oid, relname, relowner FROM pg_class
               WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')),
    faults AS (
        SELECT 1 AS rank, 'bypasses row-level security' AS fault FROM login WHERE rolbypassrls
        UNION ALL SELECT 2, 'may create roles' FROM login WHERE rolcreaterole
        UNION ALL SELECT 2, 'may create databases' FROM login WHERE rolcreatedb
        UNION ALL SELECT 2, 'may replicate' FROM login WHERE rolreplication
        UNION ALL SELECT 3, 'owns the database' FROM login, pg_database d
                  WHERE d.datname = current_database() AND d.datdba = login.oid
        UNION ALL SELECT 3, 'owns ' || relname FROM login, tables WHERE relowner = login.oid
        UNION ALL SELECT 4, 'may act as ' || r.rolname FROM login, pg_roles r
                  WHERE r.oid <> login.oid AND r.rolname <> ALL ($2) AND pg_has_role(login.oid, r.oid, 'MEMBER')
        UNION ALL SELECT 5, 'inherits the rights of ' || r.rolname FROM login, pg_roles r
                  WHERE r.oid <> login.oid AND r.rolname = ANY ($2) AND pg_has_role(login.oid, r.oid, 'USAGE')
        UNION ALL SELECT 6, 'may create tables in the schema public' FROM login
                  WHERE has_schema_privilege(login.oid, 'public', 'CREATE')
        UNION ALL SELECT 7, 'has rights of its own on ' || relname FROM login, tables
                  WHERE has_table_privilege(login.oid, tables.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                     OR has_any_column_privilege(login.oid, tables.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
        UNION ALL SELECT 8, 'may not act as ' || wanted FROM login, unnest($2) AS wanted
                  LEFT JOIN pg_roles r ON r.rolname = wanted
                  WHERE r.oid IS NULL OR NOT pg_has_role(login.oid, r.oid, 'MEMBER'))
    SELECT 'is a superuser' AS line FROM login WHERE rolsuper
    UNION ALL (SELECT fault FROM faults WHERE NOT (SELECT rolsuper FROM login) ORDER BY rank, fault)";

/// The tables that row-level security must hold for and does not, and the two roles if they bypass it.
const OPEN: &str = "
    SELECT c.relname::text AS line FROM pg_class c
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
      AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
      AND (c.relrowsecurity OR EXISTS (
          SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'gym_id' AND NOT a.attisdropped))
    UNION ALL
    SELECT rolname::text FROM pg_roles r
    WHERE r.rolname = ANY ($1)
      AND (rolsuper OR rolbypassrls OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid))";

/// The roles that every transaction of the server acts as.
const ROLES: [&str; 2] = ["liveplan_app", "liveplan_system"];

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// Refuses a login that may do more than act as the two roles. `pool` is the server's.
pub async fn check_rights(pool: &Pool) -> anyhow::Result<()> {
    let mut conn = super::take(pool).await?;
    let login: Line = diesel::sql_query("SELECT session_user::text AS line")
        .get_result(&mut conn)
        .await?;
    let login = login.line;
    let faults = faults(&mut conn, &login).await?;
    anyhow::ensure!(
        faults.is_empty(),
        "the login {login} of DATABASE_URL {}; refusing to serve with it. Set DATABASE_URL to a login of the server's own, \
         such as {EMBEDDED}, and DATABASE_OWNER_URL to the owner's, and run `liveplan migrate`: it makes the server's login \
         and grants it what it needs",
        listed(&faults)
    );
    Ok(())
}

/// Refuses a database in which row-level security is not in force for the two roles: a table or a role lacks it, or a
/// transaction of a gym that does not exist sees rows.
pub async fn check_row_level_security(pool: &Pool) -> anyhow::Result<()> {
    let mut conn = super::take(pool).await?;
    let open: Vec<Line> = diesel::sql_query(OPEN)
        .bind::<Array<Text>, _>(roles())
        .load(&mut conn)
        .await?;
    anyhow::ensure!(
        open.is_empty(),
        "row-level security is not in force for {}; refusing to serve",
        open.iter().map(|l| l.line.as_str()).collect::<Vec<_>>().join(", ")
    );
    let nowhere = Scope::Gym(GymId(uuid::Uuid::nil()));
    super::transaction(&mut conn, nowhere, Mode::Snapshot, async |conn| {
        use crate::db::schema::gyms;
        use diesel::QueryDsl as _;
        let seen: i64 = gyms::table.count().get_result(conn).await?;
        if seen > 0 {
            return Err(
                anyhow::anyhow!("row-level security shows {seen} gyms outside of all; refusing to serve").into(),
            );
        }
        Ok(())
    })
    .await
    .map_err(|e| anyhow::anyhow!("{e:?}"))
}

/// The first few faults, for a message.
fn listed(faults: &[String]) -> String {
    const SHOWN: usize = 4;
    let more = faults.len().saturating_sub(SHOWN);
    let text = faults[..faults.len() - more].join(", ");
    match more {
        0 => text,
        _ => format!("{text} and {more} more"),
    }
}

fn roles() -> Vec<String> {
    ROLES.map(str::to_owned).into()
}

async fn faults(conn: &mut AsyncPgConnection, login: &str) -> anyhow::Result<Vec<String>> {
    let lines: Vec<Line> = diesel::sql_query(FAULTS)
        .bind::<Text, _>(login)
        .bind::<Array<Text>, _>(roles())
        .load(conn)
        .await?;
    Ok(lines.into_iter().map(|l| l.line).collect())
}

/// The login of a server, as its address names it.
struct Login {
    name: String,
    /// The SCRAM verifier of the address's password, if it has one: the password itself never reaches Postgres' log.
    verifier: Option<String>,
}

impl Login {
    fn of(url: &str) -> anyhow::Result<Self> {
        let config = Address::parse(url).context("DATABASE_URL is malformed")?.config;
        let name = config.get_user().context("DATABASE_URL names no user")?.to_owned();
        let verifier = config.get_password().map(scram_sha_256);
        Ok(Self { name, verifier })
    }

    fn creation(&self) -> String {
        let password = self.verifier.as_deref().map(|v| format!(" PASSWORD {}", literal(v)));
        format!(
            "CREATE ROLE {} LOGIN NOINHERIT{}",
            identifier(&self.name),
            password.unwrap_or_default()
        )
    }

    /// Since Postgres 16 each membership has its own option; before, the login's attribute NOINHERIT decides.
    fn grant(&self, version: i32) -> String {
        let option = if version >= 160_000 {
            " WITH INHERIT FALSE, SET TRUE"
        } else {
            ""
        };
        format!("GRANT {} TO {}{option}", ROLES.join(", "), identifier(&self.name))
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[derive(QueryableByName)]
struct State {
    #[diesel(sql_type = Text)]
    owner: String,
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Bool)]
    exists: bool,
    #[diesel(sql_type = Bool)]
    inherits: bool,
    #[diesel(sql_type = Bool)]
    granted: bool,
}

/// The state of a login (`$1`) and of its memberships in the two roles (`$2`), as the owner sees them.
const STATE: &str = "
    SELECT current_user::text AS owner, current_setting('server_version_num')::integer AS version,
           EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS exists,
           EXISTS (SELECT FROM pg_roles WHERE rolname = $1 AND rolinherit) AS inherits,
           (SELECT count(*) FROM pg_auth_members m JOIN pg_roles l ON l.oid = m.member JOIN pg_roles r ON r.oid = m.roleid
            WHERE l.rolname = $1 AND r.rolname = ANY ($2) AND NOT pg_has_role(l.oid, r.oid, 'USAGE')) = 2 AS granted";

/// Makes the server's login, named by its address `url`, or takes its inheritance away, and lets it act as the two
/// roles. Changes nothing if all that is done. `owner_url` is the owner's address; migrations have run.
///
/// # Errors
/// If the owner may not do this: the message has the SQL for an administrator. If the login may do more than it
/// should: the message says what.
pub async fn prepare(owner_url: &str, url: &str) -> anyhow::Result<()> {
    let login = Login::of(url)?;
    let mut conn = super::establish(owner_url)
        .await
        .context("cannot connect to the database as its owner")?;
    AnsiTransactionManager::begin_transaction_sql(&mut conn, "BEGIN").await?;
    let prepared = prepare_in(&mut conn, &login).await;
    match prepared {
        Ok(()) => Ok(super::commit(&mut conn).await?),
        Err(error) => {
            super::rollback(&mut conn).await;
            Err(error)
        }
    }
}

async fn prepare_in(conn: &mut AsyncPgConnection, login: &Login) -> anyhow::Result<()> {
    AdvisoryLock::Roles.take_for_transaction(conn).await?;
    let state: State = diesel::sql_query(STATE)
        .bind::<Text, _>(&login.name)
        .bind::<Array<Text>, _>(roles())
        .get_result(conn)
        .await?;
    anyhow::ensure!(
        state.owner != login.name,
        "DATABASE_URL names the owner, {}: give the server a login of its own, such as {EMBEDDED}",
        state.owner
    );
    let mut steps = Vec::new();
    if !state.exists {
        steps.push(login.creation());
    } else if state.inherits {
        steps.push(format!("ALTER ROLE {} NOINHERIT", identifier(&login.name)));
    }
    if !state.granted {
        steps.push(login.grant(state.version));
    }
    for step in &steps {
        if let Err(error) = conn.batch_execute(step).await {
            anyhow::bail!(
                "{} may not prepare the login {} ({error}). Let an administrator of the database run:\n\n{};",
                state.owner,
                login.name,
                steps.join(";\n")
            );
        }
    }
    let faults = faults(conn, &login.name).await?;
    anyhow::ensure!(
        faults.is_empty(),
        "the login {} of DATABASE_URL {}: take that from it, or name another login",
        login.name,
        listed(&faults)
    );
    if !steps.is_empty() {
        tracing::info!(login = login.name, "prepared the server's login");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_created_with_a_verifier_in_place_of_its_password() {
        let login = Login::of("postgres://serve%22r:se'cret@db.example/gym").expect("an address");
        let sql = login.creation();
        assert!(
            sql.starts_with("CREATE ROLE \"serve\"\"r\" LOGIN NOINHERIT PASSWORD 'SCRAM-SHA-256$"),
            "{sql}"
        );
        assert!(!sql.contains("se'cret"), "{sql}");
        let login = Login::of("host=/run/postgresql user=serve dbname=gym").expect("an address");
        assert_eq!(login.creation(), "CREATE ROLE \"serve\" LOGIN NOINHERIT");
        assert!(Login::of("postgres://db.example/gym").is_err());
    }

    #[test]
    fn memberships_say_themselves_that_they_are_not_inherited_where_they_can() {
        let login = Login::of("postgres://serve@db.example/gym").expect("an address");
        assert_eq!(login.grant(150_008), "GRANT liveplan_app, liveplan_system TO \"serve\"");
        assert_eq!(
            login.grant(160_000),
            "GRANT liveplan_app, liveplan_system TO \"serve\" WITH INHERIT FALSE, SET TRUE"
        );
    }

    #[test]
    fn a_message_lists_the_first_faults_and_counts_the_others() {
        let faults: Vec<String> = (1..=6).map(|n| format!("f{n}")).collect();
        assert_eq!(listed(&faults[..1]), "f1");
        assert_eq!(listed(&faults), "f1, f2, f3, f4 and 2 more");
    }
}
