<?php
// Books, rolls back, does not wait, looks up, lists, cancels and is refused, by a generated client.

use OpenAPI\Client\Api\BookingsApi;
use OpenAPI\Client\ApiException;
use OpenAPI\Client\Configuration;
use OpenAPI\Client\Model\BookRequest;

// Debian's php-guzzlehttp-guzzle, from PHP's include path; and the client, which is in this folder.
require 'GuzzleHttp/autoload.php';
spl_autoload_register(function (string $class): void {
    require __DIR__ . '/lib/' . strtr(substr($class, strlen('OpenAPI\Client\\')), '\\', '/') . '.php';
});

function check(bool $holds, mixed $what = null): void
{
    if (!$holds) {
        throw new Exception(var_export($what, true));
    }
}

$configuration = (new Configuration())->setHost($argv[1]);
$trips = new BookingsApi(null, $configuration);
$trip = ['name' => ' Łukasz', 'car' => 'valid-car', 'hotel' => 'valid-hotel', 'flight' => 'valid-flight'];
$wanted = new BookRequest($trip + ['attempts' => 2]);
// These check as nothing else does that the patterns are ones that PHP knows.
$wanted->setName($trip['name'])->setCar($trip['car']);

[$booked, $status] = $trips->bookWithHttpInfo($wanted, 'php-1');
check($status === 200 && $booked->getCancelled() === false, $booked);
check($booked->getCar() === 'Car: valid-car', $booked);
check($trips->book($wanted, 'php-1')->getUserId() === $booked->getUserId());

$other = new BookRequest(['hotel' => 'invalid-hotel'] + $trip);
$undone = $trips->book($other);
check($undone->getCancelled() === true && $undone->getReason() && $undone->getCar() === null, $undone);

[$accepted, $status] = $trips->bookWithHttpInfo($wanted, null, 'respond-async');
check($status === 202 && $accepted->getCancelled() === null, $accepted);
check($accepted->getStatus() === 'running', $accepted);
check($accepted->getLocation() === '/bookings/' . $accepted->getUserId(), $accepted);

$found = $trips->getBooking($accepted->getUserId(), 20);
check($found->getStatus() === 'booked' && count($found->getSteps()) === 3, $found);
check($found->getReservations()['hotel'] === 'valid-hotel', $found);

$page = $trips->listBookings(null, 2);
check($page->getBookings()[0]->getUserId() === $accepted->getUserId(), $page);
check($page->getBookings()[1]->getUserId() === $undone->getUserId(), $page);
$page = $trips->listBookings(null, 1, $page->getNextCursor());
check(count($page->getBookings()) === 1, $page);
check($page->getBookings()[0]->getUserId() === $booked->getUserId(), $page);
check($page->getBookings()[0]->getName() === ' Łukasz', $page);

$cancelled = $trips->cancelBooking($booked->getUserId());
check($cancelled->getStatus() === 'cancelled' && !$cancelled->getReservations(), $cancelled);

try {
    $trips->book($other, 'php-1');
    check(false, 'The key was taken with another body');
} catch (ApiException $refused) {
    check($refused->getCode() === 422, $refused->getMessage());
    check($refused->getResponseObject()->getStatus() === 422, $refused->getResponseObject());
}
