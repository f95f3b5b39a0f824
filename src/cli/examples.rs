//! What `--help` shows below a command's arguments. Every example is parsed by a test.

/// Below the list of all commands.
pub(super) const ALL: &str = "\
Exit codes:
  0  done
  1  done, and something is not as it should be: `verify` found a broken invariant, `repair` could not mend all
  2  failed, or was called wrongly; the reason is on the standard error

On a terminal answers are tables, in a pipe they are JSON. Commands that read or change something want DATABASE_URL and
REDIS_URL, which `headroom dev` prints as postgres_url and redis_url.";

pub(super) const SERVE: &str = "\
Examples:
  headroom serve
  headroom --config /etc/headroom.toml serve";
pub(super) const DEV: &str = "\
Examples:
  headroom dev
  headroom dev --listen 127.0.0.1:0 --data-dir /tmp/headroom";
pub(super) const MIGRATE: &str = "\
Examples:
  HEADROOM_POSTGRES_OWNER_URL=postgres://owner@db/headroom headroom migrate";
pub(super) const CHECK_CONFIG: &str = "\
Examples:
  headroom --config headroom.toml check-config";
pub(super) const KEYS_CREATE: &str = "\
Examples:
  headroom keys create --name backend --permissions check,consume,read
  headroom keys create --name acme --permissions read --subject-prefix org:acme --expires-at 2027-01-01T00:00:00Z";
pub(super) const KEYS_LIST: &str = "\
Examples:
  headroom keys list | jq -r '.[].id'";
pub(super) const KEYS_REVOKE: &str = "\
Examples:
  headroom keys revoke 3f9a1c2e";
pub(super) const APPLY: &str = "\
Examples:
  headroom apply catalogue.toml --dry-run
  headroom apply catalogue.toml --reason 'more messages for everybody'";
pub(super) const EXPORT: &str = "\
Examples:
  headroom export > catalogue.toml";
pub(super) const SUBJECT_GET: &str = "\
Examples:
  headroom subject get org:acme";
pub(super) const SUBJECT_PUT: &str = "\
Examples:
  headroom subject put org:acme --file acme.json --reason upgrade
  headroom subject put user:u_1 --expect 0 < profile.json";
pub(super) const SUBJECT_DELETE: &str = "\
Examples:
  headroom subject delete org:acme --expect 7";
pub(super) const USAGE: &str = "\
Examples:
  headroom usage user:u_1
  headroom usage org:acme/user:u_1 | jq .limits";
pub(super) const SET: &str = "\
Examples:
  headroom set user:u_1 custom_fields 12 --reason 'counted again'";
pub(super) const RESET: &str = "\
Examples:
  headroom reset user:u_1 --reason 'ticket 4711'
  headroom reset 'org:acme/**' --metric messages --dry-run";
pub(super) const GRANT: &str = "\
Examples:
  headroom grant user:u_1 messages 50 --expires 2027-01-01T00:00:00Z --note 'for the trouble'
  headroom grant org:acme messages 500 --period month --expires 2027-01-01T00:00:00Z";
pub(super) const GRANTS: &str = "\
Examples:
  headroom grants user:u_1";
pub(super) const GRANT_REVOKE: &str = "\
Examples:
  headroom grant-revoke user:u_1 3 --reason 'given by mistake'";
pub(super) const TRANSFER: &str = "\
Examples:
  headroom transfer user:u_1 user:u_2 messages 10 --note 'have some of mine'";
pub(super) const RESERVATIONS: &str = "\
Examples:
  headroom reservations user:u_1";
pub(super) const RELEASE: &str = "\
Examples:
  headroom release rsv_…";
pub(super) const REFUND: &str = "\
Examples:
  headroom refund 0199c0de-7a3b-7c4d-8e5f-0123456789ab";
pub(super) const RECOMPUTE: &str = "\
Examples:
  headroom recompute --dry-run
  headroom recompute --subject user:u_1";
pub(super) const AUDIT: &str = "\
Examples:
  headroom audit --target org:acme --limit 10";
pub(super) const EXPORT_PERSON: &str = "\
Examples:
  headroom export-person user:u_1 > u_1.jsonl";
pub(super) const ERASE_PERSON: &str = "\
Examples:
  headroom erase-person user:u_1 --reason 'asked on the phone'";
pub(super) const ARCHIVE: &str = "\
Examples:
  headroom archive --before 2026-08 --to /var/lib/headroom/archive
  headroom archive --before 2026-08 --to s3://bucket/headroom";
pub(super) const REPAIR: &str = "\
Examples:
  headroom repair --dry-run
  headroom repair user:u_1 --reason 'after the restore'";
pub(super) const VERIFY: &str = "\
Examples:
  headroom verify
  headroom verify | jq '.checks[] | select(.broken > 0)'";
pub(super) const TOP: &str = "\
Examples:
  headroom top
  headroom top --metric premium_messages --every 5
  headroom top --count 1 | jq .shards";
pub(super) const OPENAPI: &str = "\
Examples:
  headroom openapi > openapi.json";
pub(super) const COMPLETIONS: &str = "\
Examples:
  headroom completions bash > /etc/bash_completion.d/headroom
  headroom completions zsh > ~/.zfunc/_headroom
  headroom completions fish > ~/.config/fish/completions/headroom.fish";
