"""An SMTP server (RFC 5321) that keeps the tokens of the mails that it took over."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING

from tests.clients.certificate import untrusted_certificate
from tests.clients.servers.lines import LineServer
from tests.clients.servers.sharing import shared_server


if TYPE_CHECKING:
    from tests.clients.servers.lines import Conversation


class SmtpServer(LineServer):
    """A mail happened when the line with the single dot was read, unless the reply to it is a refusal.

    *answers* may name EHLO, HELO, STARTTLS, MAIL, RCPT, DATA, RSET, NOOP, QUIT and ``"."``, the end of a mail.
    """

    token = re.compile(rb"effect[0-9a-f]{16}")
    """What is looked for in a mail."""

    def talk(self, conversation: Conversation) -> None:
        """Take mails until the client leaves."""
        conversation.reply("HELLO", b"220 ready")
        while True:
            command = conversation.line()[:4].upper().decode()
            match command:
                case "EHLO":
                    conversation.reply(command, b"250-localhost\r\n250-8BITMIME\r\n250 STARTTLS")
                case "STAR":
                    if conversation.reply("STARTTLS", b"220 go on"):
                        _start_tls(conversation)
                case "DATA":
                    if conversation.reply(command, b"354 end with a dot"):
                        self._take_mail(conversation)
                case "QUIT":
                    conversation.reply(command, b"221 bye")
                    return
                case "HELO" | "MAIL" | "RCPT" | "RSET" | "NOOP":
                    conversation.reply(command, b"250 fine")
                case _:
                    conversation.reply(command, b"502 unknown command")

    def _take_mail(self, conversation: Conversation) -> None:
        lines = []
        while (line := conversation.line()) != b".":
            lines.append(line)
        usual = b"250 queued"
        # A hangup or an unreadable reply (answers) comes from a server that took the mail over; 4xx and 5xx do not.
        if not conversation.answer_to(".", usual).startswith((b"4", b"5")):
            for token in self.token.findall(b"\n".join(lines)):
                self.note(token.decode())
        conversation.reply(".", usual)


def _start_tls(conversation: Conversation) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*untrusted_certificate())
    conversation.take_over(context.wrap_socket(conversation.connection, server_side=True))


shared = shared_server(SmtpServer)
