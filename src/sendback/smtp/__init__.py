"""The two SMTP doors of a node: what comes back (listener) and what goes out (submission).

replies     what both say, word for word
syntax      command arguments, strictly: paths and parameters
envelope    one transaction, begun and filled by MAIL and RCPT
limits      what one process and one client may use
arriving    the message of one DATA command: limits before allocation
server      all connections of a process: caps, time limits, TLS, draining

proxy       the PROXY protocol's header, versions 1 and 2
wire        the listener's own protocol class: octets, lines, flow control
session     its commands
listener    bounces, complaints, unsubscribe mails: accepted only for our own mailboxes

hardened    aiosmtpd with what it lacks
submitting  the commands of the submission port, SMTP and LMTP
logins      who may log in, and how often an address may guess
together    messages that wait for metadata are tagged in one go
submission  messages to be tagged and relayed
"""
