"""The names of the event log, declared once. Unknown names are welcome; these are the ones we use.

Commerce names follow Segment's e-commerce vocabulary
(https://segment.com/docs/connections/spec/ecommerce/v2/).
"""

from typing import Final

ORDER_COMPLETED: Final = "Order Completed"
ORDER_UPDATED: Final = "Order Updated"
PRODUCT_VIEWED: Final = "Product Viewed"
CART_UPDATED: Final = "Cart Updated"
STORE_VISITED: Final = "Store Visited"
SUPPORT_CALLED: Final = "Support Called"
CONTENT_ENGAGED: Final = "Content Engaged"

CUSTOMER_IMPORTED: Final = "Customer Imported"
CONSENT_CHANGED: Final = "Consent Changed"

MESSAGE_SENT: Final = "Message Sent"
MESSAGE_DELIVERED: Final = "Message Delivered"
MESSAGE_BOUNCED: Final = "Message Bounced"
MESSAGE_OPENED: Final = "Message Opened"
MESSAGE_CLICKED: Final = "Message Clicked"
MESSAGE_COMPLAINED: Final = "Message Complained"
MESSAGE_UNSUBSCRIBED: Final = "Message Unsubscribed"
