//! What stands below the help of each command: an example, and what its exit codes mean.

pub(super) const DEMO: &str = "\
Example: lifeboat demo /srv/www
         lifeboat demo /srv/www --s3 s3://bucket/demo --endpoint http://host:8333

Exit codes: 0 everything worked, whatever the 3-2-1 verdict; 1 failed; 2 usage; 13 damage found; 16 a drill did not pass; 130 cancelled.";
pub(super) const CHECK: &str = "\
Example: lifeboat --config /etc/lifeboat check
         lifeboat check --online

Exit codes: 0 good, warnings included; 1 a target is not fit; 2 problems; 130 cancelled.";
pub(super) const PLAN: &str = "\
Example: lifeboat plan --days 7

Exit codes: 0 done; 2 the configuration has problems; 130 cancelled.";
pub(super) const RUN: &str = "\
Example: lifeboat run web
         lifeboat run web --full
         lifeboat run web --upload-limit 5MB/s --nice 10 --ionice idle

Exit codes: 0 every target has the snapshot; 1 failed; 2 configuration; 3 a target lacks it or items are unread;
12 wrong key; 13 damage found; 14 another run of the policy goes on; 130 cancelled.";
pub(super) const STATUS: &str = "\
Example: lifeboat status
         lifeboat status web --nagios
         lifeboat status --check-daemon

Exit codes: 0 the 3-2-1 rule and the RPO are met; 15 they are not; 2 configuration; with --nagios 0 to 3; with --check-daemon 0 or 1; 130 cancelled.";
pub(super) const FREEZE: &str = "\
Example: lifeboat freeze web --reason \"ransom note on srv-3, 14:10\"

Backups, verification and restores go on; nothing that is stored is removed, and locks are made to last longer.

Exit codes: 0 done; 1 nothing is frozen, or the state could not be written; 2 usage or configuration; 130 cancelled.";
pub(super) const UNFREEZE: &str = "\
Example: lifeboat unfreeze web --reason \"restored, incident closed\"

Exit codes: 0 done; 1 nothing is frozen, or the state could not be written; 2 usage or configuration; 130 cancelled.";
pub(super) const HOLD_LIST: &str = "\
Example: lifeboat hold list web --all

Exit codes: 0 done; 1 failed; 2 usage or configuration; 130 cancelled.";
pub(super) const HOLD_RELEASE: &str = "\
Example: lifeboat hold release 20261124T015302Z-9f3c2a71 --reason \"old logs were moved away on purpose\"

Exit codes: 0 released; 1 no such hold; 14 it was released before; 2 usage or configuration; 130 cancelled.";
pub(super) const APPLY: &str = "\
Example: lifeboat apply

A file with a problem changes nothing: the daemon keeps what it has. Nothing runs because of a change. `kill -HUP` does the
same without the check. What the files promise less of than before is named; until somebody agrees by
releasing the hold that is placed, nothing of that policy is removed.

Exit codes: 0 the daemon goes by the files, or none runs; 1 it did not take them over; 2 problems; 130 cancelled.";
pub(super) const EXPOSURE: &str = "\
Example: lifeboat exposure web --days 90

Exit codes: 0 the RPO was kept all the time; 15 it was not; 2 usage or configuration; 130 cancelled.";
pub(super) const WATCH: &str = "\
Example: lifeboat watch

Exit codes: 0 looked, whatever was found; 1 the state could not be read or written; 2 configuration; 130 cancelled.";
pub(super) const INCIDENT_LIST: &str = "\
Example: lifeboat incident list --all

Exit codes: 0 done; 1 failed; 2 configuration; 130 cancelled.";
pub(super) const INCIDENT_SHOW: &str = "\
Example: lifeboat incident show I-20261124T015302Z-9f3c2a71

Exit codes: 0 done; 1 no such incident; 2 configuration; 130 cancelled.";
pub(super) const INCIDENT_OPEN: &str = "\
Example: lifeboat incident open \"users report files that do not open\" --policy web --severity critical

Exit codes: 0 opened; 1 failed; 2 usage or configuration; 130 cancelled.";
pub(super) const INCIDENT_ACK: &str = "\
Example: lifeboat incident ack I-20261124T015302Z-9f3c2a71 --by li.na

Exit codes: 0 it is yours; 1 no such incident; 2 configuration; 14 it is over; 130 cancelled.";
pub(super) const INCIDENT_NOTE: &str = "\
Example: lifeboat incident note I-20261124T015302Z-9f3c2a71 \"the switch in rack 4 was off\"

Exit codes: 0 noted; 1 no such incident; 2 configuration; 130 cancelled.";
pub(super) const INCIDENT_STAGE: &str = "\
Example: lifeboat incident stage I-20261124T015302Z-9f3c2a71 restoring

Exit codes: 0 done; 1 no such incident; 2 usage or configuration; 14 it is over; 130 cancelled.";
pub(super) const INCIDENT_RESOLVE: &str = "\
Example: lifeboat incident resolve I-20261124T015302Z-9f3c2a71 --verification \"drill D-2026-000143 passed\"

Exit codes: 0 resolved; 1 no such incident; 2 configuration; 14 its cause is still seen; 130 cancelled.";
pub(super) const INCIDENT_REPORT: &str = "\
Example: lifeboat incident report I-20261124T015302Z-9f3c2a71 --cause \"a switch lost power\" --process \"found, replaced\" --impact \"none\" --prevention \"second power supply\"

Exit codes: 0 closed; 1 no such incident; 2 a part is empty; 14 it is not resolved; 130 cancelled.";
pub(super) const NOTIFY_TEST: &str = "\
Example: lifeboat notify test mail

Exit codes: 0 all were told; 1 one was not; 2 configuration; 130 cancelled.";
pub(super) const NOTIFY_LIST: &str = "\
Example: lifeboat notify list

Exit codes: 0 done; 1 failed; 2 configuration; 130 cancelled.";
pub(super) const INIT: &str = "\
Example: lifeboat init
         lifeboat init --name web --source /srv/web --disk /mnt/backup --away s3://acme/web --location berlin

Exit codes: 0 written; 1 failed; 2 no answer, a bad name, or the policy is there; 130 cancelled.";
pub(super) const POLICY_LIST: &str = "\
Example: lifeboat policy list

Exit codes: 0 done; 2 the configuration has problems; 130 cancelled.";
pub(super) const POLICY_SHOW: &str = "\
Example: lifeboat policy show web --effective

Exit codes: 0 done; 2 the configuration has problems, or no such policy; 130 cancelled.";
pub(super) const POLICY_SCHEMA: &str = "\
Example: lifeboat policy schema --of site

Exit codes: 0 done; 130 cancelled.";
pub(super) const DOCTOR: &str = "\
Example: lifeboat doctor
         lifeboat doctor --offline

Exit codes: 0 nothing is bad; 1 something is; 130 cancelled.";
pub(super) const SUPPORT: &str = "\
Example: lifeboat support-bundle --to support.txt

Exit codes: 0 written; 1 it can't be written; 2 the file is there already; 130 cancelled.";
pub(super) const METRICS: &str = "\
Example: lifeboat metrics
         lifeboat metrics --listen 127.0.0.1:9184

Exit codes: 0 done; 1 the state can't be read, or the address not listened at; 2 configuration; 130 cancelled.";
pub(super) const COMPLETIONS: &str = "\
Example: lifeboat completions bash

Exit codes: 0 done; 2 no such shell; 130 cancelled.";
pub(super) const MAN: &str = "\
Example: lifeboat man --to /usr/local/share/man/man1

Exit codes: 0 written; 1 they can't be written; 130 cancelled.";
pub(super) const TARGET_REPLACE: &str = "\
Example: lifeboat target replace web disk

After a broken disk: mount the new one, write its URL into the policy, then fill it. Its copies count again when they
were read back: `verify web --target disk` does that.

Exit codes: 0 every snapshot is there; 1 failed; 2 usage or configuration; 3 some could not be copied; 12 wrong key; 130 cancelled.";
pub(super) const RECOVER: &str = "\
Example: lifeboat recover --from s3://acme-backup/web --kit recovery-kit.txt --to /root/recovered

Exit codes: 0 the host is there again; 1 no records there, or failed; 2 usage; 10 no repository; 12 the kit opens nothing there;
13 damage found; 130 cancelled.";
pub(super) const SNAPSHOTS: &str = "\
Example: lifeboat snapshots web

Exit codes: 0 done; 2 configuration; 130 cancelled.";
pub(super) const LS: &str = "\
Example: lifeboat ls web
         lifeboat ls web etc/nginx --at 2026-11-24T08:00:00Z --long

Prints every path as --path of a restore takes it; with --json one object a line.

Exit codes: 0 done; 1 no such snapshot or path; 2 usage or configuration; 10 no repository at the target; 12 wrong key;
13 damage found; 130 cancelled.";
pub(super) const FIND: &str = "\
Example: lifeboat find web *.conf
         lifeboat find web etc/**/nginx.conf --newer 2026-11-01T00:00:00Z

One line for each version (equal content and time of change): size, time, the first and the last snapshot that have it, in how many
it is, and its path. Quote patterns, so that the shell leaves them alone.

Exit codes: 0 done, whether or not something was found; 1 no such snapshot; 2 usage or configuration; 10 no repository at the target;
12 wrong key; 13 damage found: what the healthy snapshots have was printed; 130 cancelled.";
pub(super) const DIFF: &str = "\
Example: lifeboat diff 7f3a0c11 91d2e07b
         lifeboat diff web web etc --at 2026-11-23T00:00:00Z

One line for each entry that differs: + added, - removed, M other content, U other metadata alone, T another type; then a summary. A
folder whose time alone changed is not listed.

Exit codes: 0 done, whether or not they differ (`differs` in --json says so); 1 no such snapshot or path; 2 usage or configuration;
10 no repository at the target; 12 wrong key; 13 damage found; 130 cancelled.";
pub(super) const DUMP: &str = "\
Example: lifeboat dump web etc/nginx/nginx.conf
         lifeboat dump web db/dump.sql --at 2026-11-24T08:00:00Z

Every byte was compared with its recorded hash before it was written; damage ends the output early, with exit code 13.

Exit codes: 0 the whole file was written, or who reads it closed the pipe; 1 no such snapshot or path, or the output failed; 2 usage or
configuration, or no regular file; 3 it was not read when the snapshot was taken; 10 no repository at the target; 12 wrong key;
13 damage found; 130 cancelled.";
pub(super) const MOUNT: &str = "\
Example: lifeboat mount web /mnt/snapshots
         lifeboat mount web /mnt/yesterday --at 2026-11-23T23:59:59Z --from cloud

A folder for each snapshot and `latest`; with --at, or a snapshot's id, that one alone. Damage is an I/O error for whoever reads it and a
warning here. After a kill -9, `umount -l DIR` clears the mount away. With --json one object when it is
unmounted. See docs/mount.md.

Exit codes: 0 unmounted in order; 1 the kernel refused to mount; 2 usage or configuration, or DIR is no empty folder; 10 no
repository at the target; 12 wrong key; 13 damage found before it was mounted; 130 ended by a second signal.";
pub(super) const RESTORE: &str = "\
Example: lifeboat restore web --to /srv/restored
         lifeboat restore web --at 2026-11-24T08:00:00Z --path etc/nginx --to /tmp/nginx --verify

Exit codes: 0 all restored; 1 failed; 3 some entries, or some of their metadata, could not be
restored, or were unread when the snapshot was taken; 10 no repository at the target; 12 wrong key; 13 damage found;
14 something is in the way (see --overwrite); 130 cancelled.";
pub(super) const VERIFY: &str = "\
Example: lifeboat verify web
         lifeboat verify web --target cloud --deep

Exit codes: 0 nothing wrong; 1 a target was not reached; 3 every target asked is `offline` and not here; 12 wrong key; 13 damage found;
130 cancelled.";
pub(super) const REPAIR: &str = "\
Example: lifeboat repair web --dry-run
         lifeboat repair web --target nas

Reads every object of each target, says what is hurt and how it will be mended, and mends it from the policy's other targets. What none
of them has is set aside, after what is still whole in it was saved; the next full run stores anew what the source still has.
See docs/repair.md.

Exit codes: 0 everything is whole; 1 a target was not reached; 2 usage or configuration; 10 no repository; 12 wrong key; 13 something
is hurt still, and named (with --dry-run: something is hurt); 130 cancelled: begin it again.";
pub(super) const DRILL_RUN: &str = "\
Example: lifeboat drill run web-weekly

Exit codes: 0 passed; 16 not passed; 1 failed; 2 usage or configuration; 130 cancelled.";
pub(super) const DRILL_LIST: &str = "\
Example: lifeboat drill list --json

Exit codes: 0 done; 2 configuration; 130 cancelled.";
pub(super) const DRILL_SHOW: &str = "\
Example: lifeboat drill show D-2026-000143

Exit codes: 0 done; 1 there is none; 130 cancelled.";
pub(super) const EVIDENCE_VERIFY: &str = "\
Example: lifeboat evidence verify /var/lib/lifeboat/evidence --pub-key trusted.pem

Exit codes: 0 intact; 1 unreadable; 13 changed, cut or rewritten; 130 cancelled.";
pub(super) const REPORT: &str = "\
Example: lifeboat report D-2026-000143
         lifeboat report --json

Exit codes: 0 done; 1 there is none; 130 cancelled.";
pub(super) const REBUILD: &str = "\
Example: lifeboat rebuild-catalogue web

Exit codes: 0 done; 1 no target was reached; 2 configuration; 130 cancelled.";
pub(super) const DAEMON: &str = "\
Example: lifeboat --config /etc/lifeboat daemon

Exit codes: 0 stopped in order; 2 configuration; 11 the state folder has a daemon already; 130 cancelled.";
pub(super) const EXPLAIN: &str = "\
Example: lifeboat explain E0106

Exit codes: 0 done; 2 there is no such code; 130 cancelled.";
pub(super) const REPO_INIT: &str = "\
Examples: lifeboat repo init --repo /mnt/disk/www --repo /mnt/nas/www --key-file www.key
          lifeboat repo init --repo /mnt/disk/www --password-file passphrase

A key file that isn't there is made, with a random key and mode 0600; it opens at once, where a passphrase costs a quarter of a second.
Keep a copy of it elsewhere: without it nothing in the repository can ever be read. At a terminal a recovery kit is made, and two of its
words are asked for; elsewhere --recovery-kit-out makes one.

Exit codes: 0 made everywhere; 1 failed, or a repository exists already; 2 usage; 14 made, but nobody showed that he has the
recovery kit; 130 cancelled.";
pub(super) const REPO_BACKUP: &str = "\
Examples: lifeboat repo backup --repo /mnt/disk/www --repo s3://bucket/www --password-file passphrase /srv/www
          lifeboat repo backup --repo /mnt/disk/home --password-file passphrase --exclude *.tmp --exclude /cache/ --one-file-system /home
          lifeboat repo backup --repo /mnt/disk/home --password-file passphrase --include *.pdf --exclude-larger-than 1GiB /home /srv
          lifeboat repo backup --repo /mnt/disk/db --password-file passphrase --stdin-command shop.sql -- pg_dump shop
          lifeboat repo backup --repo s3://bucket/www --password-file passphrase --compression 12 /srv/www
          lifeboat repo backup --repo s3://bucket/www --password-file passphrase --upload-limit 5MB/s --workers 2 /srv/www

Exit codes: 0 every place has the snapshot; 1 failed, without a snapshot; 2 usage; 3 a place lacks it or items are unread;
10 no repository; 12 wrong key; 13 damage found; 130 cancelled.";
pub(super) const REPO_SNAPSHOTS: &str = "\
Example: lifeboat repo snapshots --repo /mnt/nas/www --password-file passphrase

Exit codes: 0 done; 1 unreachable; 10 no repository; 12 wrong key; 13 a snapshot is damaged; 130 cancelled.";
pub(super) const REPO_LS: &str = "\
Example: lifeboat repo ls --repo /mnt/nas/www --password-file passphrase latest docs --long

Prints every path as --path of a restore takes it; with --json one object a line.

Exit codes: 0 done; 1 no such snapshot or path; 10 no repository; 12 wrong key; 13 damage found; 130 cancelled.";
pub(super) const REPO_FIND: &str = "\
Example: lifeboat repo find --repo /mnt/nas/www --password-file passphrase *.conf
         lifeboat repo find --repo /mnt/nas/www --password-file passphrase --snapshot latest --type d cache

One line for each version (equal content and time of change): size, time, the first and the last snapshot that have it, in how many
it is, and its path. Quote patterns, so that the shell leaves them alone.

Exit codes: 0 done, whether or not something was found; 1 no such snapshot; 2 usage; 10 no repository; 12 wrong key; 13 damage
found: what the healthy snapshots have was printed; 130 cancelled.";
pub(super) const REPO_DIFF: &str = "\
Example: lifeboat repo diff --repo /mnt/nas/www --password-file passphrase 7f3a0c11 latest docs

One line for each entry that differs: + added, - removed, M other content, U other metadata alone, T another type; then a summary. A
folder whose time alone changed is not listed.

Exit codes: 0 done, whether or not they differ (`differs` in --json says so); 1 no such snapshot or path; 10 no repository;
12 wrong key; 13 damage found; 130 cancelled.";
pub(super) const REPO_DUMP: &str = "\
Example: lifeboat repo dump --repo /mnt/nas/www --password-file passphrase latest docs/plan.txt

Every byte was compared with its recorded hash before it was written; damage ends the output early, with exit code 13.

Exit codes: 0 the whole file was written, or who reads it closed the pipe; 1 no such snapshot or path, or the output failed; 2 usage, or
no regular file; 3 it was not read when the snapshot was taken; 10 no repository; 12 wrong key; 13 damage found; 130 cancelled.";
pub(super) const REPO_MOUNT: &str = "\
Example: lifeboat repo mount --repo /mnt/nas/www --password-file passphrase /mnt/snapshots
         lifeboat repo mount --repo /mnt/nas/www --password-file passphrase --snapshot latest /mnt/newest

A folder for each snapshot and `latest`; with --snapshot that one alone. Damage is an I/O error for whoever reads it and a warning
here. After a kill -9, `umount -l DIR` clears the mount away. With --json one object when it is
unmounted. See docs/mount.md.

Exit codes: 0 unmounted in order; 1 the kernel refused to mount; 2 usage, or DIR is no empty folder; 10 no repository; 12 wrong key;
13 damage found before it was mounted; 130 ended by a second signal.";
pub(super) const REPO_RESTORE: &str = "\
Example: lifeboat repo restore --repo /mnt/nas/www --password-file passphrase latest --to /srv/back --verify

Interrupted? The same command goes on where it stopped. On a fresh machine, with nothing but the recovery kit: --recovery-kit FILE in
place of the password file, or `--recovery-kit -` to type its words.

Exit codes: 0 all restored; 1 failed; 3 some entries, or some of their metadata, could not be
restored, or were unread when the snapshot was taken; 10 no repository; 12 wrong key; 13 damage found; 14 something is in the way (see --overwrite); 130 cancelled.";
pub(super) const REPO_VERIFY: &str = "\
Example: lifeboat repo verify --repo /mnt/nas/www --password-file passphrase --deep

Exit codes: 0 nothing wrong; 1 unreachable; 10 no repository; 12 wrong key; 13 damage found; 130 cancelled.";
pub(super) const REPO_SYNC: &str = "\
Example: lifeboat repo sync --from /mnt/disk/www --to s3://bucket/www

Exit codes: 0 complete; 1 failed; 10 no repository at --from; 12 wrong key; 13 damage found: nothing damaged is copied; 130 cancelled.";
pub(super) const KEY_LIST: &str = "\
Example: lifeboat key list web

Exit codes: 0 done; 1 unreachable; 2 configuration; 3 a target was not looked at; 10 no repository; 12 wrong key; 13 a slot is damaged;
130 cancelled.";
pub(super) const KEY_ADD: &str = "\
Example: lifeboat key add web --new-password-file passphrase

To change the site key: add the new one to each policy (--new-key-file), name it by key_file in lifeboat.toml, then remove the old slots.

Exit codes: 0 every target has it; 1 failed; 2 usage or configuration; 3 a target lacks it; 10 no repository; 12 wrong key;
13 damage found; 130 cancelled.";
pub(super) const KEY_KIT: &str = "\
Example: lifeboat key kit web --out web-recovery-kit

The page has 24 words and a QR code, the targets and the steps to restore. Print it, keep it away from the machine and from the
targets, and delete the files. `repo restore --recovery-kit FILE` needs nothing else.

Exit codes: 0 done; 1 failed; 2 usage or configuration, or the file exists; 3 a target lacks its slot; 10 no repository; 12 wrong key;
13 damage found; 130 cancelled.";
pub(super) const KEY_REMOVE: &str = "\
Example: lifeboat key remove web 7f3a0c11

The slot that the given secret opens (the site key, unless another is named) stays, so that one is left.

Exit codes: 0 gone everywhere; 1 no such slot, or failed; 2 usage or configuration; 3 a target was away; 10 no repository; 12 wrong key;
13 damage found; 14 it is the slot that the given secret opens; 130 cancelled.";
pub(super) const REPO_KEY_LIST: &str = "\
Example: lifeboat repo key list --repo /mnt/disk/www --repo s3://bucket/www --key-file www.key

One line for each slot: its id, what opens it, since when it is there, what trying a passphrase costs. Without a secret none is marked.

Exit codes: 0 done; 1 unreachable; 3 a place was not looked at; 10 no repository; 12 wrong key; 13 a slot is damaged; 130 cancelled.";
pub(super) const REPO_KEY_ADD: &str = "\
Example: lifeboat repo key add --repo /mnt/disk/www --repo s3://bucket/www --key-file www.key --new-password-file passphrase

Name every place: one that is away is named, and `repo sync` brings the slot there. What opens a slot already is put where it is missing.

A key for a host that is not trusted with what is stored, which backs up with --host web and opens nothing, its own backups included:

  --new-key-file web.key --for-host web --write-only

Exit codes: 0 every place has it; 1 failed; 2 usage; 3 a place lacks it; 10 no repository; 12 wrong key; 13 damage found; 130 cancelled.";
pub(super) const REPO_KEY_REPLACE: &str = "\
Example: lifeboat repo key replace --repo /mnt/disk/www --password-file old --new-key-file www.key

The new slot stands, and was opened, before the old one goes. It doesn't take back what was seen: who copied the slot of the old
secret, and has that secret, goes on reading.

Exit codes: 0 done everywhere; 1 failed; 2 usage; 3 a place was away; 10 no repository; 12 wrong key; 13 damage found; 130 cancelled.";
pub(super) const REPO_KEY_ROTATE: &str = "\
Example: lifeboat repo key rotate --repo /mnt/disk/www --repo s3://bucket/www --key-file www.key --new-key-file www-2.key

For the day when a secret may have been seen. From then on hosts with old keys store nothing (E0312) until they get new ones: add those
with the new secret, make a new recovery kit, and remove the old slots. What was stored before is not sealed anew: who has the old
secret and can read the place reads it still. The administrator's signing key stays the same: if that may have been seen, together with
the right to write at a place, begin a new repository.

Exit codes: 0 every place knows it; 1 failed; 2 usage; 3 a place was away; 10 no repository; 12 wrong key; 13 damage found; 130 cancelled.";
pub(super) const REPO_KEY_KIT: &str = "\
Example: lifeboat repo key kit --repo /mnt/disk/www --repo s3://bucket/www --key-file www.key --out www-recovery-kit

The page has 24 words and a QR code, the targets and the steps to restore. Print it, keep it away from the machine and from the
targets, and delete the files. `--recovery-kit FILE` takes either file, or one with the words alone, wherever a secret is wanted.

Exit codes: 0 done; 1 failed; 2 usage, or the file exists; 3 a place lacks its slot; 10 no repository; 12 wrong key;
13 damage found; 130 cancelled.";
pub(super) const REPO_KEY_NEW_RECIPIENT: &str = "\
Example: lifeboat repo key new-recipient escrow.key

Prints the public line, for `key add --new-recipient`. The private file opens the repository as a key file does, with --key-file.

Exit codes: 0 made; 1 the file is there already, or cannot be written; 2 usage; 130 cancelled.";
pub(super) const REPO_KEY_REMOVE: &str = "\
Example: lifeboat repo key remove --repo /mnt/disk/www --repo s3://bucket/www --key-file www.key 7f3a0c11

The slot that the given secret opens stays, so that one is left; name another secret to remove it. A store that keeps versions keeps
the slot: nothing that was readable with it becomes unreadable.

Exit codes: 0 gone everywhere; 1 no such slot, or failed; 2 usage; 3 a place was away; 10 no repository; 12 wrong key; 13 damage found;
14 it is the slot that the given secret opens; 130 cancelled.";
pub(super) const REPO_PRUNE: &str = "\
Example: lifeboat repo prune --repo /mnt/nas/www --password-file passphrase --dry-run
Example: lifeboat repo prune --repo /mnt/nas/www --repo s3://bucket/www --password-file passphrase

It first writes down which packs shall go (a plan), and deletes them in a later run, when the grace
is over. Backups go on all the while; nothing is locked, and it may be stopped at any time.

Exit codes: 0 done; 1 failed, or no room; 2 wrong arguments; 3 a place failed, others are done;
10 no repository; 12 wrong key, or one that may not remove; 13 damage found: nothing is deleted;
14 refused: a short list, a wrong clock, more than half would go, or the place keeps something; 130 cancelled.";
pub(super) const REPO_FORGET: &str = "\
Example: lifeboat repo forget --repo /mnt/nas/www --password-file passphrase --keep-last 3 --keep-daily 14 --keep-monthly 12 --zone Europe/Berlin --dry-run
Example: lifeboat repo forget --repo /mnt/nas/www --repo s3://bucket/www --password-file passphrase 3f0c1a22

A snapshot that any rule keeps is kept. Rules look at each host, policy and set of paths by itself, and
never remove its newest snapshot. What a snapshot held is freed by prune, later.

Exit codes: 0 done; 1 failed, or no such snapshot; 2 wrong arguments; 3 a place failed, others are done;
10 no repository; 12 wrong key; 13 done, but a snapshot could not be read; 14 refused: a wrong clock,
more than half of a set, or the place keeps something; 130 cancelled.";
pub(super) const SCRUB: &str = "\
Example: lifeboat scrub
         lifeboat scrub web --target offsite --period 90d --bytes-max 20GiB --time-max 4h --repair
         lifeboat scrub --window 22:00-06:00 --window sat,sun

Call it as often as you like: a call reads the share that the time since the last one is of the period, what nobody read and what was
read longest ago first. A copy whose every object was read and right counts as read back since the oldest of these reads.

Exit codes: 0 what was read is right; 1 a target did not answer; 2 configuration; 3 every target asked is `offline` and not here;
10 no repository; 12 wrong key; 13 damage found, also when --repair mended it; 130 cancelled, what was read is remembered.";
pub(super) const PRUNE: &str = "\
Example: lifeboat prune web --dry-run
         lifeboat prune

What the rules of a policy's [retention] don't keep is forgotten at every target that answers; then what nothing needs any more is
freed, after the grace. The newest snapshots that were read back at each target stay, whatever the rules say. The daemon does the same
by [retention] prune.

Exit codes: 0 done; 1 failed; 2 configuration; 3 a target took no part; 10 no repository; 12 wrong key; 13 damage found, or a snapshot
was taken away; 14 a guard or a place refuses; 130 cancelled.";
pub(super) const REPO_SCRUB: &str = "\
Example: lifeboat repo scrub --repo /mnt/nas/www --key-file www.key
         lifeboat repo scrub --repo s3://bucket/www --key-file www.key --period 90d --bytes-max 20GiB --repair --from /mnt/nas/www

Exit codes: 0 what was read is right; 1 failed; 2 usage; 10 no repository; 12 wrong key; 13 damage found, also when --repair mended it;
130 cancelled, what was read is remembered.";
pub(super) const REPO_ACCEPT_LOSS: &str = "\
Example: lifeboat repo accept-loss --repo /mnt/nas/www --repo s3://bucket/www --password-file passphrase --dry-run --reason -
         lifeboat repo accept-loss --repo /mnt/nas/www --repo s3://bucket/www --password-file passphrase --reason disk-of-June-replaced

Verifies, prunes and backups say when a snapshot went that nobody forgot (exit code 13), again and again, until it is back or somebody
has looked into it. A sync first brings back what another place still has.

Exit codes: 0 on record, or nothing is gone; 1 failed; 2 usage; 10 no repository; 12 wrong key; 14 this key is no administrator's; 130
cancelled.";
pub(super) const REPO_REPAIR: &str = "\
Example: lifeboat repo repair --repo /mnt/nas/www --password-file passphrase --from s3://bucket/www --dry-run
         lifeboat repo repair --repo /mnt/nas/www --password-file passphrase --from s3://bucket/www

Reads every object of the place, says what is hurt and how it will be mended, and mends it. What no --from has is set aside, after what
is still whole in it was saved; the next full backup stores anew what the source still has. See docs/repair.md.

Exit codes: 0 everything is whole; 1 unreachable; 2 a --from holds another repository; 10 no repository; 12 wrong key; 13 something
is hurt still, and named (with --dry-run: something is hurt); 130 cancelled: begin it again.";
pub(super) const REPO_REBUILD_INDEX: &str = "\
Example: lifeboat repo rebuild-index --repo /mnt/nas/www --password-file passphrase

Reads the last 64 KiB of each pack that no index run lists, and writes new runs. Runs that can be read stay.

Exit codes: 0 every pack is listed; 1 failed; 10 no repository; 12 wrong key; 13 some packs cannot be listed, and are named;
130 cancelled.";
pub(super) const REPO_STATS: &str = "\
Example: lifeboat repo stats --repo /mnt/nas/www

Exit codes: 0 done; 1 unreachable; 10 no repository; 12 wrong key; 130 cancelled.";

/// After `repo probe --help`.
pub(super) const REPO_PROBE: &str = "\
Example: lifeboat repo probe --repo 's3://backup/web?endpoint=https://s3.example.org&lock=governance:30d'

Puts a few objects below probe/, reads, lists, writes over and destroys them with every right that the credentials have: what
works for the probe works for a thief. With `lock=` the objects are locked and stay until their lock ends.
Exit codes: 0 nobody with these credentials can destroy what is stored; 1 the place can't be reached or lacks something;
2 usage; 14 they can, or the lock does not hold.";

/// After `repo extend-locks --help`.
pub(super) const REPO_EXTEND_LOCKS: &str = "\
Example: lifeboat repo extend-locks --repo 's3://backup/web?lock=compliance:35d' --password-file key

Object Lock is set when an object is stored; an old pack that new snapshots still use outlives it. Run this daily. What has
less than half of its time left is locked anew; the result says until when all of it is locked.
Exit codes: 0 all is locked; 1 failed, or no lock is asked for; 2 usage; 3 some objects could not be locked; 10 no repository;
12 wrong key; 130 cancelled.";

/// After `target probe --help`.
pub(super) const TARGET_PROBE: &str = "\
Example: lifeboat target probe web --target offsite

What it finds is recorded in the catalogue.
Exit codes: 0 nobody with these credentials can destroy what is stored; 1 a target can't be reached or lacks something;
2 usage or configuration; 3 every target asked is `offline` and not here; 14 they can, or the lock does not hold.";

/// After `target extend-locks --help`.
pub(super) const TARGET_EXTEND_LOCKS: &str = "\
Example: lifeboat target extend-locks web

Exit codes: 0 all is locked; 1 failed; 2 usage or configuration; 3 some objects could not be locked, or the target is `offline` and
not here; 10 no repository at the target; 12 wrong key; 130 cancelled.";

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use crate::cli::args::Cli;

    fn every_leaf(command: &Command, look: &mut dyn FnMut(&Command)) {
        let below: Vec<_> = command.get_subcommands().filter(|c| c.get_name() != "help").collect();
        below.iter().for_each(|command| every_leaf(command, look));
        if below.is_empty() {
            look(command);
        }
    }

    /// As a shell would take it: what stands between quotes is one word.
    fn words_of(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (number, part) in line.split('"').enumerate() {
            match number % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_owned)),
                _ => words.push(part.to_owned()),
            }
        }
        words
    }

    #[test]
    fn the_help_of_every_command_has_an_example_that_parses_and_its_exit_codes() {
        let mut leaves = 0;
        let mut all = Cli::command();
        all.build();
        every_leaf(&all, &mut |command| {
            leaves += 1;
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Exit codes: 0 "), "{}: {help}", command.get_name());
            let examples: Vec<&str> = help
                .lines()
                .filter_map(|line| line.split_once("lifeboat "))
                .map(|(_, words)| words)
                .collect();
            assert!(!examples.is_empty(), "{} has no example", command.get_name());
            for example in examples {
                let words = std::iter::once("lifeboat".to_owned()).chain(words_of(example));
                let parsed = Cli::command().try_get_matches_from(words);
                assert!(parsed.is_ok(), "`lifeboat {example}`: {:?}", parsed.err().map(|e| e.to_string()));
                assert!(
                    example.contains(command.get_name()),
                    "{example} is no example of {}",
                    command.get_name()
                );
            }
        });
        assert!(leaves >= 85, "{leaves}");
    }
}
