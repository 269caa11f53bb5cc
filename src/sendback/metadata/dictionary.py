"""Raw deflate (RFC 1951) with a preset dictionary: what makes stateless links short.

The dictionary belongs to token version STATELESS_DEFLATED and never changes; a better one is a
new version. What deflate finds in it costs two or three bytes instead of its length; the pieces
most often met stand at the end, where references are shortest.
"""

import zlib

from sendback.errors import Malformed

#: Most that a record may inflate to: more is refused before it is allocated.
MAX_INFLATED = 16 * 1024
_WINDOW = -13  # 8 KB, raw

#: Pieces of addresses, hosts, paths and queries as marketing and transactional mail has them.
DICTIONARY_1 = (
    b"forgot-password?token=confirm-email?token=verify-email?token=reset_password?token="
    b"terms-and-conditions/privacy-policy/help-center/contact-us/about-us/customer-service"
    b"/preferences/manage-subscription/email-preferences/view-in-browser/webversion/forward-to-a-friend"
    b"apps.apple.com/us/app/id play.google.com/store/apps/details?id=com."
    b"instagram.com/facebook.com/twitter.com/linkedin.com/company/youtube.com/watch?v=youtube.com/channel/"
    b"youtube.com/user/pinterest.com/tiktok.com/@t.me/x.com/github.com/medium.com/@whatsapp.com/send?phone="
    b"google.com/maps/place/google.com/search?q=facebook.com/sharer/sharer.php?u=https%3A%2F%2F"
    b"twitter.com/intent/tweet?url=https%3A%2F%2Flinkedin.com/shareArticle?mini=true&url=amazon.com/gp/product/"
    b"s3.amazonaws.com/cloudfront.net/wp-content/uploads/images/assets/static/media/docs.google.com/forms/d/e/"
    b".html?.php?.aspx?index.html/index.php?id=/default.aspx?"
    b"&_hsenc=&_hsmi=&mc_cid=&mc_eid=&mkt_tok=&trk=&ref_=&gclid=&fbclid=&msclkid=&dclid=&yclid=&wickedid="
    b"&utm_id=&utm_term=&utm_content=header&utm_content=footer&utm_content=button&utm_content=logo"
    b"&utm_content=hero&utm_content=cta&utm_content=image&utm_content=text"
    b"?ref=email&ref=newsletter&source=email&source=newsletter&campaign=&cid=&sid=&uid=&pid=&aid=&lang=en"
    b"&locale=en_US&language=de&country=&currency=&user_id=&userid=&customer_id=&customerId=&subscriber_id="
    b"&contact_id=&member=&account=&email=&mail=&token=&key=&hash=&sig=&signature=&expires=&id=&code=&coupon="
    b"&promo=&discount=&date=&page=&category=&utm_source=&utm_medium=&utm_campaign="
    b"/en-us/en-gb/de-de/fr-fr/es-es/en/de/fr/es/it/nl/pt/shop/store/products/product/collections/collection/"
    b"categories/category/catalog/search?q=/sale/new-arrivals/new-in/women/men/kids/home/bestsellers/offers/"
    b"offer/deals/gifts/gift-cards/cart/checkout/orders/order/invoice/tracking/track/account/login/signup/"
    b"register/dashboard/settings/notifications/profile/users/user/members/messages/jobs/job/careers/events/"
    b"event/webinar/register/tickets/booking/hotel/flights/travel/news/article/articles/story/stories/posts/"
    b"post/blog/2024/2025/2026/2027/support/help/faq/docs/guide/learn/courses/course/pricing/features/download/"
    b"donate/survey/feedback/review/reviews/rate/share/confirm/activate/verify/unsubscribe?optout?email="
    b"newsletter?utm_source=newsletter&utm_medium=email&utm_campaign="
    b"spring-summer-autumn-winter-black-friday-cyber-monday-christmas-holiday-easter-valentines-welcome-"
    b"reminder-abandoned-cart-launch-weekly-monthly-daily-digest-update-promo-sale-"
    b"january-february-march-april-may-june-july-august-september-october-november-december-"
    b"transactional marketing newsletter campaign default broadcast promotions notifications "
    b"announcements list-news-customers-subscribers-users-"
    b"@icloud.com@me.com@aol.com@live.com@msn.com@protonmail.com@proton.me@gmx.de@web.de"
    b"@t-online.de@gmx.net"
    b"@mail.ru@yandex.ru@qq.com@163.com@orange.fr@free.fr@wanadoo.fr@libero.it"
    b"@comcast.net"
    b"@yahoo.co.uk@hotmail.co.uk@btinternet.com@googlemail.com@outlook.com"
    b"@hotmail.com@yahoo.com@gmail.com"
    b"john.smith david.michael.maria.anna.peter.thomas.james.info@sales@office@contact@"
    b"support@hello@"
    b"track.trk.trk.e.em.mail.email.news.newsletter.links.link.click.clicks.go.t.url.m.app.shop."
    b"store.blog..co.uk.com.au.com.br.co.jp.org.net.edu.gov.io.app.dev.ai.eu.us.ca.ch.at.be.nl.it.fr.es"
    b".de/.com"
    b"?utm_source=email&utm_medium=email&utm_campaign=example.com/links.example.comlinks."
    b"track.news.email.go.com/"
)

#: Less window, hash and effort than could be: a token costs less, and is a character longer in 600.
_deflater = zlib.compressobj(3, zlib.DEFLATED, -12, 4, zlib.Z_DEFAULT_STRATEGY, DICTIONARY_1)


def deflate(body: bytes) -> bytes:
    """The body, deflated. About 4 us: a primed compressor is copied, not made."""
    deflater = _deflater.copy()
    return deflater.compress(body) + deflater.flush()


def inflate(deflated: bytes) -> bytes:
    """The inverse; Malformed when it is cut, goes on, or holds more than 16 KB."""
    inflater = zlib.decompressobj(_WINDOW, DICTIONARY_1)
    try:
        body = inflater.decompress(deflated, MAX_INFLATED)
    except zlib.error:
        raise Malformed("the record does not inflate") from None
    if not inflater.eof or inflater.unused_data:
        raise Malformed("the record does not end where its token does, or passes 16 KB")
    return body
